# ruff: noqa: E501
"""What people call the sources: concepts, the sources each covers, and the phrases that ask for it.

A concept's stem in a mixture is the sum of every source it covers, so "guitar" takes both guitars of a song and
"acoustic guitar" only one. The phrases behind the bar are never trained on: they measure paraphrases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from training.sources import BY_NAME, DRUM_PARTS

_DRUMS: Final = ", ".join(DRUM_PARTS)
_GUITARS: Final = "nylon guitar, steel guitar, clean guitar, overdriven guitar, distorted guitar"
_BASSES: Final = "electric bass, slap bass, fretless bass, double bass, synth bass"
_TABLE: Final = f"""
drums: {_DRUMS} = drums; drum kit; drum set; the drums; drum track; drumming; percussion and drums; batería; schlagzeug; batterie; batteria; beat | drumkit; a drummer playing; acoustic drums
kick: kick = kick drum; bass drum; kick; kik; the kick; kick in; grosse caisse; bombo | kicks; bass drum hits
snare: snare = snare drum; snare; snares; snare hits; snare top; caisse claire; caja | snare track; the snare drum
hihat: hihat = hi-hat; hi hat; hihat; hats; closed hi-hat; charley | hi hats; hihats
cymbals: cymbals, hihat = cymbals; overheads; drum cymbals; cymbales | cymbals and hats; drum overheads
crash: cymbals = crash cymbal; ride cymbal; crash; ride | crash and ride
toms: toms = toms; tom-toms; floor tom; tom fills; drum toms | tom drums; the toms
percussion: percussion = percussion; congas; bongos; shaker; tambourine; hand percussion; cowbell; percusión | latin percussion; tambourine and shaker
claps: claps = claps; hand claps; handclaps; clapping | people clapping; hand clap
bass: {_BASSES} = bass; bassline; bass line; the bass; bass track; low bass; bajo; basse; basso | bass part; bass instrument
bass guitar: electric bass, slap bass, fretless bass = bass guitar; electric bass; fingered bass; bass DI; bajo eléctrico; e-bass | electric bass guitar; bass gtr
slap bass: slap bass = slap bass; slapped bass guitar | funk slap bass
fretless bass: fretless bass = fretless bass | fretless bass guitar
double bass: double bass = double bass; upright bass; acoustic bass; contrabass; kontrabass; contrebasse | string bass; standup bass
synth bass: synth bass = synth bass; sub bass; synthesizer bass; 808 bass; electronic bass | bass synth; sub
guitar: {_GUITARS} = guitar; guitars; the guitar; guitar track; gitarre; guitarra; guitare; chitarra; ギター | guitar part; all guitars
acoustic guitar: nylon guitar, steel guitar = acoustic guitar; acoustic guitars; strummed acoustic guitar; fingerpicked guitar; ac gtr; guitarra acústica; guitare acoustique; akustische gitarre | acoustic gtr; strumming acoustic guitar
nylon guitar: nylon guitar = nylon guitar; classical guitar; spanish guitar; nylon string guitar | flamenco guitar; classical nylon guitar
steel guitar: steel guitar = steel string guitar; steel string acoustic guitar; folk guitar; 12 string guitar | western guitar
electric guitar: clean guitar, overdriven guitar, distorted guitar = electric guitar; electric guitars; e-guitar; guitarra eléctrica; guitare électrique; e-gitarre; lead guitar; rhythm guitar | elec gtr; electric guitar part
clean guitar: clean guitar = clean guitar; clean electric guitar; jazz guitar; muted guitar; palm muted clean guitar | clean electric; chorus guitar
driven guitar: overdriven guitar, distorted guitar = overdriven guitar; crunch guitar; rock guitar; guitar solo; driven electric guitar | crunchy guitar; gritty guitar
distorted guitar: distorted guitar = distorted guitar; heavy guitar; metal guitar; distortion guitar; distorted rhythm guitar; power chords; fuzz guitar | high gain guitar; heavy metal guitars
piano: piano = piano; grand piano; acoustic piano; upright piano; klavier; pianoforte; ピアノ; the piano | piano part; concert grand piano
electric piano: electric piano = electric piano; rhodes; wurlitzer; e-piano; fm electric piano; fender rhodes | rhodes piano; el piano
keyboards: piano, electric piano, harpsichord, organ = keys; keyboards; keyboard; teclado; claviers | keyboard part; keys track
harpsichord: harpsichord = harpsichord; clavinet; cembalo; clavecin; clav | baroque harpsichord
organ: organ = organ; hammond organ; church organ; pipe organ; rock organ; orgel; orgue; drawbar organ | hammond; electric organ
accordion: accordion = accordion; accordéon; akkordeon; bandoneon; squeezebox | an accordion playing
harmonica: harmonica = harmonica; mouth organ; blues harp; mundharmonika | blues harmonica
violin: violin = violin; fiddle; solo violin; viola; violín; violon; geige | solo fiddle; a violin
cello: cello = cello; violoncello; solo cello; violoncelle; chelo | a cello; cello solo
strings: violin, cello, strings, pizzicato = strings; string instruments; orchestra strings; streicher; cuerdas; cordes | the strings; orchestral strings
string section: strings = string section; string ensemble; string orchestra; violins; tremolo strings | string ensemble pad; string quartet
pizzicato: pizzicato = pizzicato strings; pizzicato; plucked strings | plucked violins
harp: harp = harp; harfe; arpa; concert harp; harpe | a harp playing
choir: choir = choir; choir aahs; chorus of voices; oohs and aahs; coro; chor; backing choir | choral voices; a choir singing
vocals: singing, speech, choir = vocals; voice; voices; vocal track; human voice; voz; stimme; voix; ボーカル | vox; all vocals
singing: singing, choir = singing; sung vocals; singers; lead and backing vocals; background vocals; canto; gesang | people singing; vocal harmonies
lead vocals: singing = lead vocals; singer; lead vocal; female singer; male singer; main vocals; solo singer | lead vox; the singer
speech: speech = speech; a man speaking; a woman speaking; dialogue; talking; narration; spoken word; voice over; sprache; habla; parole | person talking; dialog; spoken voice
trumpet: trumpet = trumpet; trumpets; muted trumpet; trompete; trompeta; trompette | a trumpet solo
trombone: trombone = trombone; tuba; low brass; posaune | trombones
french horn: french horn = french horn; french horns; horns in f; waldhorn | orchestral horn
brass: trumpet, trombone, french horn, brass section = brass; brass instruments; horns; metales; bläser; cuivres | the brass; horn players
brass section: brass section = brass section; horn section; brass stabs; synth brass | horn stabs
saxophone: saxophone = saxophone; sax; alto sax; tenor sax; saxophon; saxofón; soprano saxophone | a sax solo; saxes
clarinet: clarinet = clarinet; clarinete; klarinette; clarinette | a clarinet
oboe: oboe = oboe; bassoon; english horn; fagott; hautbois | oboe solo
flute: flute = flute; recorder; pan flute; piccolo; flauta; flöte; flûte; whistle | a flute playing; pan pipes
woodwinds: clarinet, oboe, flute, saxophone = woodwinds; woodwind instruments; reeds; wind instruments | the woodwinds
mallets: vibraphone, marimba = mallets; mallet percussion; mallet instruments | tuned percussion
vibraphone: vibraphone = vibraphone; vibes; vibraphon | a vibraphone
marimba: marimba = marimba; xylophone; marimba and xylophone | a xylophone
bells: bells = bells; glockenspiel; celesta; music box; tubular bells; chimes; glocken | bell sounds; glock
synth: synth lead, synth pad, synth arpeggio, synth bass = synth; synthesizer; synths; electronic synth; sintetizador; synthé | synthesizers; synth sounds
synth lead: synth lead = synth lead; lead synth; saw lead; square lead; synth solo | synthesizer lead
synth pad: synth pad = synth pad; pad; pads; ambient pad; warm pad; synth strings | synth pads; atmospheric pad
synth arpeggio: synth arpeggio = synth arpeggio; arpeggiator; arp; synth arp; plucky synth; sequencer | arpeggiated synth; synth pluck
banjo: banjo = banjo; sitar; shamisen; plucked folk instrument | a banjo playing
crowd: crowd = crowd; audience; applause; crowd noise; crowd cheering; people murmuring; público | cheering audience; crowd murmur
noise: noise = noise; background noise; hiss; room noise; wind noise; hum; tape hiss; static | white noise; noise floor
sound effects: sound effects = sound effects; birds chirping; helicopter; sea waves; telephone ringing; gunshot; sfx; effects | sfx track; foley
melodic: piano, electric piano, violin, trumpet, saxophone, clarinet, oboe, flute, synth lead, singing, harmonica = melody; lead melody; lead instrument | the melody
"""


@dataclass(frozen=True)
class Concept:
    """One thing a prompt can mean."""

    name: str
    covers: frozenset[str]
    phrases: tuple[str, ...]
    held_out: tuple[str, ...]


@cache
def concepts() -> dict[str, Concept]:
    """Every concept by name; `ValueError` when one covers an unknown source."""
    found = {}
    for line in filter(None, _TABLE.splitlines()):
        head, _, asked = line.partition(" = ")
        name, _, covers = head.partition(": ")
        seen, _, unseen = asked.partition(" | ")
        sources = frozenset(part.strip() for part in covers.split(","))
        if not sources <= BY_NAME.keys():
            raise ValueError(f"{name} covers unknown sources {sources - BY_NAME.keys()}")
        found[name] = Concept(name, sources, tuple(seen.split("; ")), tuple(unseen.split("; ")))
    return found
