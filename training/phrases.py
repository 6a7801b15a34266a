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

_LABELS: Final = """
drums: drm; drums bus; drum bus; kit; drum loop; drum machine; live drums; drum mix; breakbeat; the drummer; tambores; ドラム
kick: bd; kick out; 808 kick; kick sample; four on the floor kick; gran cassa
snare: sd; snr; snare bottom; sn top; rimshot; snare backbeat; rullante
hihat: hh; hat; open hat; closed hats; open hi-hat; charleston
cymbals: oh; oh l; oh r; cymbal; overhead; becken; platillos; piatti
crash: crash cymbals; ride bell; splash cymbal; china cymbal
toms: rack tom; tom 1; tom 2; low tom; high tom
percussion: perc; percs; shakers; conga; bongo; djembe; maracas; percussioni; schlagwerk
claps: clap; clap track; palmas; klatschen
bass: bs; bass amp; low end; bass 1; the bassist; basslines; ベース
bass guitar: bass gtr di; picked bass; bass guitars; basse électrique; precision bass
slap bass: slapping bass; slap and pop bass; slapped bass
fretless bass: fretless; fretless electric bass; mwah bass
double bass: contrabajo; contrabbasso; jazz bass; bowed bass; plucked upright bass
synth bass: moog bass; 808; bass drop; reese bass; acid bass
guitar: gtr; gtrs; git; guitar 1; guitar bus; the guitarist; guitar riff; stringed guitar; violão
acoustic guitar: agtr; acoustic; acoustics; acoustic strumming; unplugged guitar; chitarra acustica; western gitarre
nylon guitar: spanish gtr; nylon; nylon string; bossa nova guitar; konzertgitarre; guitarra clásica
steel guitar: steel string; dreadnought; steel acoustic; country acoustic guitar; twelve string
electric guitar: egtr; e gtr; gtr di; elektrische gitarre; guitar amp; gtr solo; chitarra elettrica; エレキギター
clean guitar: clean gtr; cln gtr; funk guitar; clean strat; single coil guitar; clean chords on guitar
driven guitar: od gtr; drive gtr; blues rock guitar; dirty guitar; guitar lead; overdrive guitar
distorted guitar: dist gtr; distorted guitars; rhythm gtr l; rhythm gtr r; chugging guitar; guitar wall; heavy riff; gitarrenwand
piano: pno; pianos; piano chords; steinway; baby grand; pianola; flügel; keys piano
electric piano: ep; epiano; rhodes keys; wurli; stage piano; piano eléctrico
keyboards: kbd; keybs; keyboards bus; keys 1; tastiera; tasteninstrumente
harpsichord: hpschd; clavicembalo; clavicémbalo; harpsi; clavinet funk
organ: org; b3; hammond b3; órgano; organo; organ chords; leslie organ
accordion: acc; accordian; fisarmonica; acordeón; concertina
harmonica: harp blues; harmonica solo; armónica; armonica; mouth harp
violin: vln; violins solo; violino; violine; fiddle tune; bowed violin
cello: vc; celli; cello line; violoncelo; violonchelo
strings: str; string bus; strings bus; violins and cellos; archi; string parts; ストリングス
string section: str ens; ensemble strings; legato strings; string orchestra chords; sweeping strings
pizzicato: pizz; pizz strings; plucked string section; staccato plucked strings
harp: hp; orchestral harp; harp glissando; celtic harp
choir: chr; chorale; mixed choir; aahs; choeur; choral singing; gospel choir
vocals: vocal; vocal bus; voc; vocals bus; all voices; voces; voci; gesang und stimme; chant
singing: sung voice; singing voice; bgv; backing vocals; harmonies; harmony vocals; cantando; chant choral
lead vocals: ld vox; lead voc; vocal lead; lv; vocalist; frontman; main vocal; singer's voice; cantante
speech: spoken; spoken voice track; talk; person speaking; podcast; voiceover; narrator; discours; conversation
trumpet: tpt; trp; tromba; flugelhorn; trumpet section
trombone: tbn; bone; trombón; bass trombone; euphonium
french horn: hn; f horn; cor; trompa; corno; horn in f
brass: brs; brass bus; brass parts; ottoni; cuivre; blechbläser
brass section: brs sect; horns section; big band brass; brass hits; brass ensemble
saxophone: sx; saxo; sassofono; saxophone solo; baritone sax; sax section
clarinet: cl; clar; clarinetto; bass clarinet; clarinet melody
oboe: ob; bsn; cor anglais; oboes; fagot
flute: fl; flt; flutes; flauto; tin whistle; flute melody; traverso
woodwinds: ww; woodwind section; holzbläser; legni; wind section
mallets: mallet; pitched percussion; mallets bus; keyed percussion
vibraphone: vib; vibra; vibes solo; vibráfono
marimba: mar; xyl; marimbas; wooden mallets; xylophon
bells: bell; glockenspiels; chime; campanas; cloches; music boxes; celeste
synth: syn; synth bus; synthesiser; keyboard synth; analog synth; シンセ; sintetizzatore
synth lead: ld syn; lead; mono lead; lead line synth; supersaw; chip lead
synth pad: pd; pad bus; string pad; drone; evolving pad; nappe de synthé
synth arpeggio: arps; arp 1; arpeggio; arpeggios; pluck; plucks; sequence
banjo: bjo; banjos; bluegrass banjo; koto; sitar drone
crowd: crwd; audience noise; people cheering; clapping audience; live crowd; stadium; publikum; foule
noise: nz; noises; ambience; air conditioning; rumble; hum and hiss; rauschen; bruit; ruido
sound effects: fx; sound fx; efx; sound effect; nature sounds; thunder; geräusche; bruitages; efectos
melodic: mel; main melody; melody line; topline; tune; melodie; melodía
"""
"""More of what tracks and sounds are called, as `_TABLE`'s first phrases are used: abbreviations of mixers, other words
and languages."""

_AROUND: Final = (
    "the {}", "{} track", "{} part", "{} stem", "sound of {}", "only the {}", "isolated {}", "{} in the mix",
    "a recording of {}", "{} 1", "{} 2", "{} dry", "{} playing", "all the {}", "{} sound",
)  # fmt: skip
"""What people write around a name."""


@dataclass(frozen=True)
class Concept:
    """One thing a prompt can mean. `phrases` are what it is called first of all, `labels` are trained on as well, and
    `held_out` are not."""

    name: str
    covers: frozenset[str]
    phrases: tuple[str, ...]
    labels: tuple[str, ...]
    held_out: tuple[str, ...]


@cache
def concepts() -> dict[str, Concept]:
    """Every concept by name; `ValueError` when one covers an unknown source."""
    labels = {
        name: tuple(rest.split("; ")) for name, _, rest in (line.partition(": ") for line in _LABELS.splitlines())
    }
    found = {}
    for line in filter(None, _TABLE.splitlines()):
        head, _, asked = line.partition(" = ")
        name, _, covers = head.partition(": ")
        seen, _, unseen = asked.partition(" | ")
        sources = frozenset(part.strip() for part in covers.split(","))
        if not sources <= BY_NAME.keys():
            raise ValueError(f"{name} covers unknown sources {sources - BY_NAME.keys()}")
        found[name] = Concept(name, sources, tuple(seen.split("; ")), labels[name], tuple(unseen.split("; ")))
    return found


def taught(concept: Concept) -> tuple[str, ...]:
    """What a concept is asked by in training: its phrases, its labels, and each of them once with words around it.

    No held-out phrase of any concept is among them.
    """
    names = concept.phrases + concept.labels
    around = [_AROUND[(i + len(concept.name)) % len(_AROUND)].format(name) for i, name in enumerate(names)]
    unseen = {phrase for other in concepts().values() for phrase in other.held_out}
    return tuple(phrase for phrase in dict.fromkeys([*names, *around]) if phrase not in unseen)
