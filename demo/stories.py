#!/usr/bin/python3
"""Writes short children's stories: the text that the demo model learns.

A story is drawn from a grammar: ten plots, each a chain of sentences with many wordings, over heroes,
places, things, helpers and endings.  What is drawn at the start is carried through: names and pronouns,
the thing and its adjective, the place, the trouble and the one who can help with it (what hangs in a tree
is fetched by one who flies or climbs).  There are far more stories than a model could see, so it can only
learn how they are made.

A story is a function of its seed alone.  Training draws from seeds below HELD_OUT, the held-out text from
HELD_OUT upwards, so that no seed serves both.

Usage: stories.py FIRST COUNT     prints COUNT stories, one a line, from seed FIRST
       stories.py heldout COUNT   the same from the held-out seeds
"""
import random
import re
import sys

HELD_OUT = 1 << 40

GIRLS = "Lily Mia Anna Emma Sara Lucy Rosa Nora Ella Ruby Clara Maya Zoe Ida Amy Jane Kate Eva".split()
BOYS = "Tom Ben Max Sam Tim Leo Jack Finn Noah Adam Oscar Hugo Peter Paul Felix Otto Dan Luke".split()
SHE_ANIMALS = "Poppy Tilly Daisy Luna Dotty Bella Molly Honey".split()
HE_ANIMALS = "Bruno Rusty Teddy Milo Benny Pip Toby Gus".split()
HERO_SPECIES = "rabbit fox cat dog bear mouse hedgehog pig pony lamb".split()

# in/at it, to it
PLACES = [("in the garden", "to the garden"), ("in the forest", "to the forest"), ("in the park", "to the park"),
          ("at the beach", "to the beach"), ("on the hill", "to the hill"), ("by the river", "to the river"),
          ("by the lake", "to the lake"), ("in the meadow", "to the meadow"), ("on the farm", "to the farm"),
          ("in the field", "to the field"), ("at the market", "to the market"), ("by the old mill", "to the old mill")]

# thing: the adjectives that suit it
THINGS = {
    "ball": "red blue green yellow big new", "kite": "red blue yellow big pretty long",
    "doll": "pretty little old new", "boat": "little wooden blue white red", "drum": "red little loud new",
    "hat": "red blue warm big funny", "scarf": "warm long red green soft", "bell": "shiny little golden old",
    "key": "golden shiny old little", "ring": "golden shiny pretty little", "basket": "big little old brown",
    "balloon": "red blue yellow big green", "blanket": "soft warm blue old", "cup": "little white blue pretty",
    "book": "big old new red", "flute": "wooden little old shiny", "crown": "golden shiny little pretty",
    "lamp": "little old shiny golden", "bag": "red brown big little", "coin": "golden shiny old little"}

WATERS = [p for p in PLACES if p[0] in ("at the beach", "by the river", "by the lake", "by the old mill")]

# what one sees in the sky or on the ground
SIGHTS = ["a butterfly", "a rainbow", "a big cloud", "a yellow flower", "a tiny snail", "a white bird",
          "a green beetle", "a round stone"]

FOODS = ["bread", "cheese", "apples", "cake", "soup", "berries", "honey", "nuts", "pears", "cookies"]

WEATHER = ["sunny", "warm", "windy", "bright", "cold but sunny"]

# the trouble: where the thing goes, why it is out of reach, who can help, what the helper does
TROUBLES = [
    ("[flew|went] up into a tall tree", "in the tree", "The tree was too [high|tall] for {A}",
     [("bird", "fly", "flew up into the tree"), ("squirrel", "climb", "climbed up the tree"),
      ("owl", "fly", "flew up to the top of the tree"), ("monkey", "climb", "climbed up into the tree"),
      ("crow", "fly", "flew up to the branch")]),
    ("fell into the water", "in the water", "The water was too [deep|cold] for {A}",
     [("duck", "swim", "swam into the water"), ("frog", "swim", "jumped into the water"),
      ("otter", "swim", "dived into the water"), ("turtle", "swim", "swam slowly into the water"),
      ("fish", "swim", "swam down into the water")]),
    ("rolled under a [big|huge] rock", "under the rock", "The rock was too heavy for {A}",
     [("bear", "push", "pushed the rock away"), ("horse", "push", "pushed the rock away"),
      ("cow", "push", "pushed the rock to the side"), ("elephant", "lift", "lifted the rock"),
      ("goat", "push", "pushed the rock to the side")]),
    ("fell into a deep hole", "in the hole", "The hole was too [deep|dark] for {A}",
     [("mole", "dig", "dug down into the hole"), ("mouse", "crawl", "crawled down into the hole"),
      ("rabbit", "dig", "dug down into the hole"), ("badger", "dig", "dug down into the hole")])]

FAMILY = [("mom", "she"), ("dad", "he"), ("grandma", "she"), ("grandpa", "he"), ("sister", "she"), ("brother", "he")]

FEELINGS = ["happy", "glad", "proud", "very happy", "so happy"]

PRONOUNS = {"he": ("he", "him", "his"), "she": ("she", "her", "her")}


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


class Story:
    """One story being told: its random numbers and the fields that its sentences share."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.f = {}

    def pick(self, seq):
        return seq[int(self.r.random() * len(seq))]

    def person(self, key, text, pronoun):
        """Makes {key}, and with its letter in lower case {k_he}, {k_him}, {k_his}, {k_He}, {k_His}."""
        he, him, his = PRONOUNS[pronoun]
        k = key.lower()
        self.f.update({key: text, k + "_he": he, k + "_him": him, k + "_his": his,
                       k + "_He": he.capitalize(), k + "_His": his.capitalize()})

    def say(self, template):
        """Draws each [this|that] from the inside out, then fills in the fields."""
        while "[" in template:
            template = re.sub(r"\[([^\[\]]*)\]", lambda m: self.pick(m.group(1).split("|")), template)
        return template.format(**self.f)

    def thing(self, names=None):
        noun = self.pick(names or sorted(THINGS))
        adj = self.pick(THINGS[noun].split())
        self.f.update(thing=noun, adj=adj, a_thing=a(adj + " " + noun))

    def child(self, taken=None):
        while True:
            name, he = (self.pick(GIRLS), "she") if self.r.random() < 0.5 else (self.pick(BOYS), "he")
            if name != taken:
                return name, he

    def hero(self):
        """Draws the hero, the place and the first two sentences, which all plots share."""
        if self.r.random() < 0.65:
            name, he = self.child()
            kind = "girl" if he == "she" else "boy"
            home = self.pick(["in a small house", "in a little village", "near the forest", "in a big town",
                              "by the sea", "in a white house"])
        else:
            name, he = (self.pick(SHE_ANIMALS), "she") if self.r.random() < 0.5 else (self.pick(HE_ANIMALS), "he")
            kind = self.pick(HERO_SPECIES)
            home = self.pick(["in the forest", "on a farm", "near the river", "under a big tree", "by a small lake"])
        self.person("A", name, he)
        here, there = self.pick(PLACES)
        self.f.update(kind=kind, home=home, here=here, to=there)
        self.f["trait"] = self.pick(["little", "small", "young", "kind", "clever", "happy"])
        self.f["weather"] = self.pick(WEATHER)
        return self.say("[Once upon a time, there was|Once there was|There once was] a {trait} {kind} named {A}. "
                        "[{A}|{a_He}] lived {home} with {a_his} [family|mom and dad|mom]. ")

    def day(self):
        return self.say("[One day|One morning|One {weather} day|On a {weather} morning]")

    def ending(self, lesson):
        """The last sentence or two: how the hero felt, what was learnt."""
        self.f["feel"] = self.pick(FEELINGS)
        self.f["lesson"] = lesson
        return self.say("[{A} learned that {lesson}.|From that day on, {A} knew that {lesson}.|"
                        "{A} was {feel}.|That night, {A} went to bed and slept well.|"
                        "{A} was {feel}, and {a_he} knew that {lesson}.|It was a good day for {A}.]")

    # ---- plots ------------------------------------------------------------------------------------

    def plot_out_of_reach(self):
        """The thing lands where the hero cannot go; an animal that can, helps."""
        how, where, why, helpers = self.pick(TROUBLES)
        animal, can, did = self.pick([h for h in helpers if h[0] != self.f["kind"]])
        if where == "in the water":
            self.f["to"] = self.pick(WATERS)[1]
        names = {"in the tree": ["kite", "balloon", "hat", "scarf", "ball"],
                 "in the water": ["boat", "ball", "hat", "doll", "ring", "basket"],
                 "under the rock": ["ball", "coin", "ring", "bell", "drum"],
                 "in the hole": ["key", "coin", "ring", "ball", "bell", "crown"]}[where]
        self.thing(names)
        self.f.update(where=where, animal=animal, can=can, did=did)
        return [
            self.say("{A} had {a_thing}. [{a_He} loved the {thing} very much. |{a_He} loved to play with it. |"
                     "It was a gift from {a_his} [mom|dad|grandma|grandpa]. ]"),
            self.day() + self.say(", {A} [took|brought] the {thing} {to}. "),
            self.say("[Suddenly|But then|Then], the {thing} " + how + ". "),
            self.say(why + ". " + "[{A} was sad. |{A} began to cry. |{A} did not know what to do. |]"),
            self.say("[Just then, |Then ]" + a(animal) + " came by. "),
            self.say('"[Why are you sad|What is wrong]?" asked the {animal}. '
                     '"My {thing} is {where}," said {A}. [|"Can you help me, please?" |"Please help me." ]'),
            self.say('"[I can {can}. |I will help you. |Do not worry. |Do not cry. ]'
                     'I will get [it for you|your {thing}]," '
                     "said the {animal}. "),
            self.say("The {animal} {did} and [got|brought back|found] the {adj} {thing}. "),
            self.say('"[Thank you|Thank you so much|Thank you, {animal}]!" said {A}. '
                     "[{A} and the {animal} [became good friends|played together all day]. "
                     "|{A} gave the {animal} a big hug. |{A} gave the {animal} some {food}. ]"),
            self.ending(self.pick(["friends help each other", "it is good to ask for help",
                                   "a friend can be found anywhere"]))]

    def plot_lost(self):
        """The hero cannot find the thing, looks in two places; one of the family helps."""
        self.thing()
        rel, he = self.pick(FAMILY)
        self.person("B", rel, he)
        spots = self.r.sample(["under the bed", "behind the door", "in the box", "on the chair", "under the table",
                               "in the kitchen", "behind the tree", "in the grass", "on the shelf"], 3)
        self.f.update(s0=spots[0], s1=spots[1], s2=spots[2])
        return [
            self.say("[{A}|{a_He}] had {a_thing}, and {a_he} [took it everywhere|loved it very much|"
                     "played with it every day]. "),
            self.day() + self.say(", {A} could not find the {thing}. "),
            self.say('"[Where is my {thing}|Oh no, where is my {thing}|Where can it be]?" [said|asked|cried] {A}. '),
            self.say("[{a_He}|{A}] looked {s0}, but the {thing} was not there. "
                     "[Then|Next], {a_he} looked {s1}, but it was not there. "),
            self.say("[{A} was very sad. |{A} sat down and cried. |]{a_His} {B} [saw {a_him}|came to {a_him}] and asked, "
                     '"[What is wrong|Why are you sad], {A}?" '),
            self.say('"[I lost my {adj} {thing}|I cannot find my {adj} {thing}]," said {A}. '),
            self.say('"[Let us look for it together|I will help you|Do not worry, I will help you look]," '
                     "said {a_his} {B}. "),
            self.say("They looked and looked. [At last|Then|Soon], {b_he} [looked {s2}. There was the {thing}! "
                     "|found the {thing} {s2}. ]"),
            self.say('"[You found it|There it is|Here it is]!" [said|cried] {A}. {a_He} gave {a_his} {B} a [big |]hug. '),
            self.ending(self.pick(["it is good to take care of things", "two can find more than one",
                                   "it is good to ask for help"]))]

    def plot_share(self):
        """Two friends both want the thing; they learn to take turns."""
        self.thing(["ball", "kite", "drum", "boat", "doll", "book", "flute"])
        name, he = self.child(self.f["A"])
        self.person("B", name, he)
        verb = {"ball": "throw", "kite": "fly", "drum": "play", "boat": "sail", "doll": "hold", "book": "read",
                "flute": "play"}[self.f["thing"]]
        self.f["verb"] = verb
        return [
            self.say("{A} had a [good |]friend named {B}. "),
            self.day() + self.say(", {A} and {B} [found|saw] {a_thing} {here}. "),
            self.say('"[I want to {verb} it|It is mine|I saw it first|Give it to me]!" said {A}. '
                     '"No, [it is mine|I saw it first|I want to {verb} it]!" said {B}. '),
            self.say("They both pulled [at|on] the {thing}. "
                     "[Then {B} fell down and began to cry. |{B} was angry and went home. "
                     "|They were angry and did not talk for a long time. ]"),
            self.say("{A} [was sad|felt bad|felt sorry]. {a_He} [went|ran] to {B} and said, "
                     '"[I am sorry|I am so sorry], {B}. [You can {verb} the {thing} first|'
                     'We can {verb} the {thing} together|Let us take turns with the {thing}]." '),
            self.say('["I am sorry too|"Thank you, {A}|"That is a good idea]," said {B}[| with a smile]. '),
            self.say("So [they took turns with the {thing} all day|they had fun with the {adj} {thing} together|"
                     "{B} had the {thing} first, and then {A} had it]. "
                     "[It was a lot of fun. |They laughed and laughed. |]"),
            self.ending(self.pick(["it is good to share", "sharing is more fun", "friends take turns"]))]

    def plot_gift(self):
        """The hero makes something for one of the family and needs one thing for it from a neighbour."""
        rel, he = self.pick(FAMILY[:4])
        self.person("B", rel, he)
        gift, needs = self.pick([("cake", ["eggs", "flour", "milk", "honey"]), ("soup", ["carrots", "salt", "beans"]),
                                 ("pie", ["apples", "berries", "flour"]), ("card", ["paper", "a red pen", "glue"]),
                                 ("hat", ["wool", "a needle", "a button"]), ("necklace", ["beads", "a string"])])
        owner, ohe = self.pick([("the farmer", "he"), ("the baker", "he"), ("the old lady", "she"),
                                ("the teacher", "she"), ("the shopkeeper", "he"), ("the kind neighbor", "she")])
        self.person("C", owner, ohe)
        need = self.pick(needs)
        self.f.update(gift=gift, need=need,
                      verb={"cake": "bake", "pie": "bake", "soup": "cook"}.get(gift, "make"))
        many = need.endswith("s")
        self.f.update(it="them" if many else "it", was="were" if many else "was", it_is="They are" if many else "It is",
                      bare=need[2:] if need.startswith("a ") else need,
                      some=need if need.startswith("a ") else "some " + need)
        return [
            self.say("[It|Tomorrow] was the birthday of {a_his} {B}. "
                     '"I will {verb} a {gift} for {b_him}," said {A}. '),
            self.say("{A} looked in the kitchen[ and in every box|], but there {was} no {bare}. "),
            self.say("So {A} [went|walked|ran] to {C}. "),
            self.say('"[Good morning|Hello]," said {A}. "[May I please have {some}|Can you give me {some}|'
                     'Please, do you have {some}]?" '),
            self.say('"[What do you need {it} for|Why do you need {it}]?" asked {C}. '
                     '"[I want to {verb} a {gift} for my {B}|{it_is} for a {gift} for my {B}]," said {A}. '),
            self.say("T" + owner[1:] + " smiled and gave {a_him} [what {a_he} needed|{some}]. "),
            self.say("{A} [ran|went|hurried] home and [worked all day|worked very hard|began to work]. "
                     "[Soon|At last|In the evening], the {gift} was [ready|done]. "),
            self.say('"[Happy birthday|This is for you]!" said {A}. '
                     '{a_His} {B} [was so happy|smiled|was very surprised]. '
                     '"[What a [lovely|nice|wonderful] {gift}|This is the best {gift} of all|Thank you, {A}]!" '
                     "{b_he} said. "),
            self.ending(self.pick(["a gift made with love is the best gift", "it feels good to give",
                                   "kind people are everywhere"]))]

    def plot_lost_animal(self):
        """The hero finds a little animal that is lost and takes it home."""
        baby, parent, home = self.pick([
            ("duckling", "duck", "on a pond"), ("kitten", "cat", "in a barn"), ("puppy", "dog", "on a farm"),
            ("chick", "hen", "in a barn"), ("baby bird", "bird", "in a nest"),
            ("baby squirrel", "squirrel", "in a tree"), ("baby rabbit", "rabbit", "in a burrow"),
            ("baby owl", "owl", "in a tree"), ("lamb", "sheep", "in a field"), ("foal", "horse", "in a stable")])
        self.f.update(baby=baby, parent=parent, lives=home, h=home.split()[-1],
                      t=self.pick(["tiny", "small", "wet", "white", "brown"]))
        self.thing(["bell", "ring", "coin", "key", "crown"])
        return [
            self.day() + self.say(", {A} [went|walked] {to}. "),
            self.say("There {a_he} [saw|found|met] a {t} {baby}. "
                     "The {baby} was [crying|all alone|cold and hungry]. "),
            self.say('"[What is wrong|Why are you here|Are you lost], little one?" asked {A}. '
                     '"I [am lost|cannot find my mom|want to go home]," said the {baby}. '),
            self.say('"[Where do you live|Where is your home]?" asked {A}. '
                     '"I live {lives} with my mom," said the {baby}. '),
            self.say("[{A} gave the {baby} some {food}. |{A} put the {baby} in {a_his} [bag|basket|hat]. |"
                     "{A} was kind and wanted to help. ]"),
            self.say("They walked [for a long time|over a hill|past the trees|along the path] "
                     "and [looked|looked and looked] "
                     "for the {h}. [Soon|At last|Then], they [saw|found] it. "),
            self.say('"[Mom|There is my mom|That is my home]!" cried the {baby}. '
                     "The mother {parent} [ran to them|was so happy|came to them]. "),
            self.say('"Thank you for [bringing my baby home|helping my baby|taking care of my baby]," she said. '
                     "She gave {A} {a_thing}. [|{A} kept the {thing} for a long time. ]"),
            self.ending(self.pick(["it is good to be kind", "it feels good to help", "everyone needs a home"]))]

    def plot_fear(self):
        """The hero is afraid of something; one of the family shows that there is no need."""
        fear, why, cure, after = self.pick([
            ("the dark", "At night, {a_he} could not sleep", "gave {a_him} a little lamp", "the stars were pretty"),
            ("the water", "{a_He} did not want to swim", "held {a_his} hand in the water", "the water was warm"),
            ("loud storms", "When it rained, {a_he} hid under the bed", "sang {a_him} a soft song",
             "the rain made music"),
            ("big dogs", "{a_He} ran away from every dog", "showed {a_him} a friendly dog", "the dog was soft and kind"),
            ("high places", "{a_He} did not want to climb", "held {a_his} hand on the hill",
             "everything looked small and pretty"),
            ("the old house", "{a_He} never walked past it", "went into the house with {a_him}",
             "there was only a cat in the house")])
        rel, he = self.pick(FAMILY)
        self.person("B", rel, he)
        self.f.update(fear=fear, cure=self.say(cure), after=after)
        return [
            self.say("{A} was afraid of {fear}. " + why + ". "),
            self.day() + self.say(', {a_his} {B} asked, '
                                  '"[Why are you afraid|What is wrong|What are you afraid of], {A}?" '),
            self.say('"I am afraid of {fear}," said {A}. '
                     "[{a_His} {B} did not laugh. |{a_His} {B} gave {a_him} a hug. |]"),
            self.say('"[I was afraid too when I was small|Everyone is afraid of something|'
                     'It is all right to be afraid]," '
                     'said {a_his} {B}. "[Come with me|Let me show you something|We will try it together]." '),
            self.say("{b_He} {cure}. "),
            self.say("[At first, {A} was still afraid. |{A} closed {a_his} eyes. |{A} took a deep breath. ]"
                     "[Then|But then|Soon] {a_he} saw that {after}. "),
            self.say('"[I am not afraid anymore|Look, I can do it|It is not so bad]!" said {A}. '
                     '"[You are very brave|I am proud of you|I knew you could do it]," said {a_his} {B}. '),
            self.ending(self.pick(["it is all right to be afraid", "being brave means to try",
                                   "there was nothing to fear"]))]

    def plot_broken(self):
        """The thing breaks through carelessness; it is mended with the right tool."""
        thing, tools = self.pick([("cup", ["some glue"]), ("doll", ["some glue", "a needle"]),
                                  ("boat", ["some glue", "a small nail"]), ("kite", ["some tape", "some string"]),
                                  ("drum", ["some tape", "some glue"]), ("bag", ["a needle", "some string"]),
                                  ("blanket", ["a needle"]), ("book", ["some tape", "some glue"]),
                                  ("basket", ["some string"])])
        self.thing([thing])
        rel, he = self.pick(FAMILY)
        self.person("B", rel, he)
        verb = "tore" if thing in ("kite", "bag", "blanket", "book") else "broke"
        self.f.update(tool=self.pick(tools), broke=verb, broken="torn" if verb == "tore" else "broken")
        return [
            self.say("{a_His} {B} had {a_thing}. [It was very old. |{b_He} liked it very much. |]"),
            self.day() + self.say(", {A} [played with|took] the {thing}, [but {a_he} was not careful|"
                                  "but {a_he} was too fast|and {a_he} ran with it]. "),
            self.say("[Oh no! |]The {thing} [fell down|fell to the ground] and {broke}. "),
            self.say("{A} [was scared|felt bad|was sad]. [{a_He} wanted to hide it. |{a_He} did not know what to say. |]"
                     "But {a_he} [went to {a_his} {B} and told {b_him} everything|told {a_his} {B} the truth]. "),
            self.say('"[I am sorry|I am so sorry], the {thing} is {broken}," said {A}. '
                     '"Thank you for telling me the truth," said {a_his} {B}. '
                     '"[We can fix it|Let us fix it together|I know how to fix it]." '),
            self.say("They [got|found|took] {tool} and [worked together|sat down at the table|worked for a long time]. "),
            self.say("[Soon|At last|After a while], the {adj} {thing} was [as good as new|whole again|fixed]. "),
            self.ending(self.pick(["it is best to tell the truth", "one must be careful",
                                   "it is good to say sorry"]))]

    def plot_seed(self):
        """The hero plants a seed, waits with patience and shares what grows."""
        plant, got, eat = self.pick([("an apple", "apples", 1), ("a pumpkin", "a big pumpkin", 1),
                                     ("a sunflower", "a tall sunflower", 0),
                                     ("a rose", "a red rose", 0), ("a bean", "green beans", 1),
                                     ("a carrot", "carrots", 1),
                                     ("a berry", "sweet berries", 1), ("a tulip", "a yellow tulip", 0)])
        rel, he = self.pick(FAMILY)
        self.person("B", rel, he)
        name, he2 = self.child(self.f["A"])
        self.person("C", name, he2)
        self.f.update(plant=plant, got=got, many="were" if got.endswith("s") else "was")
        last = ("They ate together and it tasted [good|very good|wonderful]. " if eat else
                "{C} said that it was the [prettiest|nicest] flower of all. ")
        return [
            self.day() + self.say(", {a_his} {B} gave {A} {plant} seed. "),
            self.say('"[Put it in the ground|Plant it in the garden] and give it water every day," said {a_his} {B}. '),
            self.say("{A} [dug a hole|made a little hole] and put the seed in it. "
                     "Every [day|morning], {a_he} gave it water. "),
            self.say("[For a long time, nothing happened. |Day after day, nothing came up. ]"
                     '"[When will it grow|Why does it not grow]?" asked {A}. '
                     '"[You must wait|Be patient|Wait and see]," said {a_his} {B}. '),
            self.say("[Then it rained, and the sun came out. |Then the sun was warm. |]"
                     "[One day|At last], a [little|tiny] green leaf came up. "
                     "[It grew and grew. |It grew bigger every day. ]"),
            self.say("[In the summer|After many days|At the end of the summer], there {many} {got}. "),
            self.say("{A} [called|went to] {a_his} friend {C}. "
                     '"[Look what I grew|This is for both of us|I want to share with you]," '
                     "said {A}. "),
            self.say(last),
            self.ending(self.pick(["good things take time", "it is good to wait", "it is good to share"]))]

    def plot_learn(self):
        """The hero wants to learn something, fails, tries again and can do it."""
        what, where, fail, can = self.pick([
            ("ride a bike", "{to}", "fell off the bike", "rode the bike"),
            ("swim", "to the lake", "went under the water", "swam across the lake"),
            ("climb a tree", "to a tall tree", "fell into the grass", "climbed to the top"),
            ("sing a song", "{to}", "forgot the words", "sang the whole song"),
            ("draw a horse", "to the table", "drew a horse with five legs", "drew a pretty horse"),
            ("dance", "{to}", "fell down", "danced in a circle"),
            ("skate", "to the frozen lake", "fell on the ice", "skated around the lake"),
            ("bake bread", "to the kitchen", "burned the bread", "baked a good bread"),
            ("play the flute", "{to}", "made a funny sound", "played a pretty song")])
        name, he = self.child(self.f["A"])
        self.person("B", name, he)
        self.f.update(what=what, w=self.say(where), fail=fail, did=can)
        return [
            self.say("{A} wanted to {what}[, but {a_he} did not know how| more than anything]. "),
            self.day() + self.say(", {A} went {w}[ to try| with {a_his} friend {B}|]. "),
            self.say("{a_He} tried, but {a_he} {fail}. [{A} tried again, but it did not work. |]"
                     '"[I cannot do it|It is too hard|I will never learn it]," said {A}. '),
            self.say('{a_His} friend {B} [smiled and said|said], '
                     '"[Do not give up|You must try again|I will show you how]." '
                     "[{B} showed {a_him} how to {what}. |{B} helped {a_him}. ]"),
            self.say("[Every day|Day after day|Every morning], {A} tried [again|a little more]. "
                     "[It was hard, but {a_he} did not give up. |{a_He} got better and better. ]"),
            self.say("[One day|At last|After a week], {A} {did}! "),
            self.say('"[I did it|I can do it|Look at me]!" [cried|said] {A}. '
                     '"[I knew you could do it|Well done, {A}|You did it]!" said {B}. '),
            self.ending(self.pick(["one must never give up", "it is good to try again", "hard work pays off"]))]

    def plot_rain(self):
        """Rain spoils a plan; something to do is found at home, and then the sun comes out."""
        rel, he = self.pick(FAMILY)
        self.person("B", rel, he)
        do, did = self.pick([("make a paper boat", "made a paper boat"), ("bake cookies", "baked cookies"),
                             ("build a tower", "built a tall tower"), ("paint a picture", "painted a picture"),
                             ("read a story", "read a long story"), ("make a puppet", "made a funny puppet"),
                             ("play a game", "played a game"), ("sing songs", "sang songs")])
        plan = self.pick(["play", "have a picnic", "fly a kite", "meet a friend", "look for flowers", "run and jump"])
        self.f.update(do=do, didit=did, plan=plan, sight=self.pick(SIGHTS))
        return [
            self.say("[One day|One morning], {A} wanted to go {to} to {plan}. "),
            self.say("But [the sky was dark|there were dark clouds], and [soon |]it began to rain. "
                     "[{A} looked out of the window and was sad. |{A} was not happy. |]"),
            self.say('"[I want to go outside,|I do not like the rain,|Why must it rain today?]" said {A}. '),
            self.say("{a_His} {B} [had an idea|smiled]. "
                     '"[We can have fun inside too|Do not be sad|The rain is good for the flowers]," '
                     '{b_he} said. "Let us {do}." '),
            self.say("So they {didit} [together|at the table|in the kitchen]. [It was a lot of fun. |{A} laughed. |"
                     "{A} forgot about the rain. ]"),
            self.say("[After a while|Then|In the afternoon], the rain stopped and the sun came out. "
                     "{A} and {a_his} {B} [went|walked] {to}. "),
            self.say("There they saw {sight}. " '"[Look|How pretty|Look at that]!" said {A}. '),
            self.ending(self.pick(["rain can be fun too", "every day can be a good day", "the sun always comes back"]))]

    def tell(self):
        self.f["food"] = self.pick(FOODS)
        text = self.hero()
        plots = [self.plot_out_of_reach, self.plot_out_of_reach, self.plot_lost, self.plot_share, self.plot_gift,
                 self.plot_lost_animal, self.plot_fear, self.plot_broken, self.plot_seed, self.plot_learn, self.plot_rain]
        return (text + "".join(self.pick(plots)())).strip()


def story(seed):
    return Story(seed).tell()


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("Usage: ")[1])
    first = HELD_OUT if sys.argv[1] == "heldout" else int(sys.argv[1])
    for seed in range(first, first + int(sys.argv[2])):
        print(story(seed))


if __name__ == "__main__":
    main()
