"""Real prose in the public domain, for tests of rules on text: none of it may be thrown away."""
# ruff: noqa: RUF001

# Charles Darwin, The Origin of Species, introduction (1859).
ENGLISH = (
    "When on board H.M.S. Beagle, as naturalist, I was much struck with certain facts in the distribution of the "
    "inhabitants of South America, and in the geological relations of the present to the past inhabitants of that "
    "continent. These facts seemed to me to throw some light on the origin of species, that mystery of mysteries, as "
    "it has been called by one of our greatest philosophers.\n\n"
    "On my return home, it occurred to me that something might perhaps be made out on this question by patiently "
    "accumulating and reflecting on all sorts of facts which could possibly have any bearing on it. After five years' "
    "work I allowed myself to speculate on the subject. I drew up some short notes. These I enlarged into a sketch of "
    "the conclusions, which then seemed to me probable."
)
# Lu Xun, My Old Home (1921).
CHINESE = (
    "我冒了严寒，回到相隔二千余里，别了二十余年的故乡去。\n\n"
    "时候既然是深冬；渐近故乡时，天气又阴晦了，冷风吹进船舱中，呜呜的响，从篷隙向外一望，苍黄的天底下，"
    "远近横着几个萧索的荒村，没有一些活气。我的心禁不住悲凉起来了。阿！这不是我二十年来时时记得的故乡？\n\n"
    "我所记得的故乡全不如此。我的故乡好得多了。但要我记起他的美丽，说出他的佳处来，却又没有影像，没有言辞了。"
    "仿佛也就如此。于是我自己解释说：故乡本也如此。"
)
# Natsume Soseki, I Am a Cat (1905).
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。\n\n"
    "どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。"
    "吾輩はここで始めて人間というものを見た。しかもあとで聞くとそれは書生という人間中で一番獰悪な種族であったそうだ。"
    "この書生というのは時々我々を捕えて煮て食うという話である。"
)
