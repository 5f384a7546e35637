"""What the bundled sets are put together from; see ``bundled``."""

from __future__ import annotations

PEOPLE = [
    "Agnes", "Anton", "Bela", "Carla", "Dario", "Edith", "Farid", "Greta", "Hanna", "Igor", "Jonas", "Karim", "Lena",
    "Marta", "Nadia", "Oskar", "Petra", "Quentin", "Rosa", "Samir", "Tilda", "Ulla", "Viktor", "Wanda", "Xenia",
    "Yusuf", "Zora", "Bruno", "Celia", "Doris", "Emil", "Flora", "Gustav", "Hilda", "Ivan", "Judith", "Klaus",
    "Lydia", "Milan", "Nora",
]  # fmt: skip
SURNAMES = [
    "Abel", "Brand", "Castell", "Dorn", "Ekberg", "Falk", "Garand", "Holm", "Ibsen", "Jansen", "Kober", "Lund",
    "Mertens", "Novak", "Orlov", "Palmer", "Quist", "Rossi", "Stark", "Toth", "Ulrich", "Varga", "Winter", "Xander",
    "Young", "Zeman", "Berger", "Costa", "Duran", "Egger", "Fabre", "Gomez", "Hauser", "Keller", "Lopez", "Moser",
    "Nagy", "Olsen",
]  # fmt: skip
PLACES = [
    "Aberdeen", "Basel", "Cairo", "Dublin", "Essen", "Florence", "Ghent", "Hanover", "Istanbul", "Jaipur", "Kyoto",
    "Lisbon", "Madrid", "Nairobi", "Oslo", "Porto", "Quito", "Riga", "Salzburg", "Tunis", "Utrecht", "Verona",
    "Warsaw", "Xian", "York", "Zagreb", "Athens", "Bergen", "Cordoba", "Delhi", "Graz", "Havana", "Lyon", "Malmo",
    "Naples",
]  # fmt: skip
FIRMS_FIRST = [
    "Alpine", "Baltic", "Cedar", "Delta", "Evergreen", "Falcon", "Golden", "Harbour", "Iron", "Jupiter", "Lakeside",
    "Meridian", "Northern", "Orion",
]  # fmt: skip
FIRMS_LAST = ["Bank", "Foods", "Motors", "Press", "Railways", "Shipping", "Studios", "Textiles", "Airways", "Insurance"]

NAMED = (
    "{per} moved from {loc} to {loc} last spring .", "{per} has worked for {org} since the summer .",
    "The head of {org} , {per} , spoke in {loc} .", "{org} will open a new office in {loc} .",
    "Yesterday {per} met {per} at a station in {loc} .", "According to {per} , {org} sold its house in {loc} .",
    "Nobody in {loc} had heard of {org} before .", "{per} wrote a book about the streets of {loc} .",
    "Workers of {org} asked {per} for an answer .", "The train from {loc} was late , said {per} .",
    "{org} and {org} agreed on a price .", "Letters from {per} were found in a cellar .",
    "It rained all day when we walked through {loc} .", "The price of bread went up again in spring .",
    "A map of {loc} hangs in the hall of {org} .", "Did {per} ever live near {loc} ?",
)  # fmt: skip

ASPECTS = [
    "room", "bed", "breakfast", "view", "garden", "bathroom", "staff", "kitchen", "location", "lift", "balcony",
    "service",
]  # fmt: skip
OPINIONS = {
    "dreadful": -2.0, "awful": -2.0, "filthy": -1.8, "poor": -1.2, "noisy": -1.0, "dull": -0.8, "ordinary": 0.0,
    "acceptable": 0.3, "decent": 0.6, "pleasant": 1.0, "good": 1.0, "lovely": 1.5, "excellent": 2.0, "superb": 2.0,
}  # fmt: skip
DEGREES = {"": 1.0, "rather": 0.7, "slightly": 0.4, "quite": 0.9, "very": 1.3, "not": -0.5}

EVENTS = ["concert", "fair", "exhibition", "race", "market", "lecture", "festival", "auction", "dance", "meeting"]
VENUES = (
    "in the old harbour", "on the north bridge", "in a small theatre", "behind the town hall",
    "in the botanical garden", "at the railway museum", "on the castle lawn", "in the school gym",
    "beside the river mill", "under the glass roof",
)  # fmt: skip
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
PARTS = ("morning", "afternoon", "evening", "night")
FACTS = {  # kind -> sentences about an event, and questions
    "place": (
        ("The {event} was held {value}.", "Everybody met {value}.", "They had put up the stage {value}."),
        ("Where was the {event} held?", "Where did everybody meet?", "Where did the {event} take place?"),
    ),
    "time": (
        ("It began on {value}.", "On {value} the doors opened.", "The {event} started on {value}."),
        ("When did the {event} begin?", "When did the doors open?", "On which day did it start?"),
    ),
    "opener": (
        ("{value} opened it with a short speech.", "The first words were spoken by {value}."),
        ("Who opened the {event}?", "Who gave the opening speech?"),
    ),
    "payer": (
        ("The costs were paid by {value}.", "{value} paid for everything."),
        ("Who paid for the {event}?", "Which company paid the costs?"),
    ),
    "count": (
        ("About {value} people came.", "In all {value} tickets were sold."),
        ("How many people came?", "How many tickets were sold?"),
    ),
}

# What somebody does, and what comes next.
SCENES = {
    "tea": (
        ("filled the kettle with water", "took two cups from the shelf", "opened a tin of green tea"),
        ("let the tea leaves steep", "added milk to the cup", "carried the teapot to the table"),
    ),
    "bicycle": (
        ("turned the bicycle upside down", "found a nail in the tyre", "took the front wheel off"),
        ("glued a patch on the tube", "pumped up the tyre", "tightened the brakes"),
    ),
    "garden": (
        ("dug a row of holes", "bought a bag of seeds", "pulled the weeds"),
        ("watered the seedlings", "planted the beans", "raked the flower bed"),
    ),
    "painting": (
        ("put a canvas on the easel", "mixed some blue and white", "cleaned the brushes"),
        ("painted the sky first", "added a shadow to the portrait", "signed the picture in a corner"),
    ),
    "swimming": (
        ("put on a bathing cap", "climbed the diving board", "packed a towel and goggles"),
        ("dived in head first", "swam ten lengths", "floated on the back for a while"),
    ),
}

GROUPS = ("Two girls", "A man", "Three students", "A woman", "Some workers", "An old couple", "Four boys", "A nurse")
ACTIONS = {  # what is done -> what that implies
    "playing the violin": "making music", "playing the drums": "making music", "eating an apple": "having some food",
    "eating soup": "having some food",
}  # fmt: skip
SITES = {"in a meadow": "outdoors", "on a beach": "outdoors", "in a library": "indoors", "in a cellar": "indoors"}
ADDED = ("for the first time", "before lunch", "because of a bet", "to please a friend", "on a birthday", "for money")
