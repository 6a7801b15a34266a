// Stembridge in Bitwig Studio: the audio of a launcher clip is separated, and the stems come into slots beside it.
//
// Bitwig tells its scripts neither the file of a clip nor anything of the arranger. So the file is named in the panel,
// or found in a folder by the clip's name; for the arranger there is `stembridge session SONG.dawproject`.
// The script speaks OSC with the engine over UDP on this machine and is never waited for. See daw_scripts/README.md.

loadAPI(17);
host.defineController("Stembridge", "Stembridge", "0.1.0", "6f9d1c1e-52a7-4c0b-9a53-7d3b1a0e8c24", "Stembridge");
host.defineMidiPorts(0, 0);

var API = 1;
var VERSION = "0.1.0";
var HOST = "127.0.0.1";
var ENGINE_PORT = 9129;
var OWN_PORT = 9139; // answers are sent there: a script cannot listen on the port it sends from
var N_TRACKS = 256;
var N_SCENES = 256;
var TICK_MS = 250;
var ANSWER_MS = 2000; // an engine that is silent for so long counts as stopped
var TRACK_MS = 10000; // Bitwig makes a track some time after it was asked to
var NO_ENGINE = "The Stembridge engine is not running. Open a terminal and type: stembridge serve";

var application, bank, cursor, slots, panel, engine;
var selectedSlot = -1;
var nextRid = 1;
var run = 0; // a random start: rids of an earlier run of this script must not come again
var waiting = {}; // rid → {sentMs, answered, failed}
var requests = []; // what was asked for and has not come in: {job, track, slot, ...}
var incoming = []; // stems that wait for their tracks
var making = null; // the track that Bitwig is making
var silentSinceMs = null;

function init() {
   application = host.createApplication();
   bank = host.createMainTrackBank(N_TRACKS, 0, N_SCENES);
   bank.itemCount().markInterested();
   cursor = host.createCursorTrack("stembridge", "Stembridge", 0, N_SCENES, true);
   [cursor.name(), cursor.position(), cursor.color(), cursor.exists()].forEach(interested);
   slots = cursor.clipLauncherSlotBank();
   slots.addIsSelectedObserver(function (index, on) {
      if (on) selectedSlot = index;
      else if (selectedSlot === index) selectedSlot = -1;
   });
   for (var i = 0; i < N_SCENES; i++) {
      var slot = slots.getItemAt(i);
      [slot.name(), slot.hasContent()].forEach(interested);
   }
   for (var t = 0; t < N_TRACKS; t++) interested(bank.getItemAt(t).name());
   run = Math.floor(Math.random() * 1e9);
   makePanel();
   connect();
   host.scheduleTask(tick, TICK_MS);
}

function exit() {}

function flush() {}

function interested(value) {
   value.markInterested();
}

function makePanel() {
   var state = host.getDocumentState();
   panel = {
      file: state.getStringSetting("Audio file", "Source", 1024, ""),
      folder: state.getStringSetting("or its folder", "Source", 1024, ""),
      prompt: state.getStringSetting("Prompt (empty: track name)", "Source", 200, ""),
   };
   [panel.file, panel.folder, panel.prompt].forEach(interested);
   var buttons = { "Extract clip": extract, "Remove from clip": remove, "Show progress": showProgress, "Cancel": cancel };
   Object.keys(buttons).forEach(function (name) {
      state.getSignalSetting(name, "Gestures", name).addSignalObserver(buttons[name]);
   });
}

function connect() {
   var osc = host.getOscModule();
   var space = osc.createAddressSpace();
   space.registerDefaultMethod(function (source, message) {
      answered(message);
   });
   osc.createUdpServer(OWN_PORT, space);
   engine = osc.connectToUdpServer(HOST, ENGINE_PORT, osc.createAddressSpace());
}

// Gestures ---------------------------------------------------------------------------------------------------------

function extract() {
   gesture("extract");
}

function remove() {
   gesture("remove");
}

function gesture(kind) {
   var slot = selectedSlot;
   if (!cursor.exists().get() || slot < 0 || !slots.getItemAt(slot).hasContent().get()) {
      return tell("Nothing is selected. Select a clip in the launcher, and try again.");
   }
   var clip = slots.getItemAt(slot).name().get();
   var path = panel.file.get().trim();
   var folder = panel.folder.get().trim();
   if (path === "" && folder !== "" && clip !== "") path = folder.replace(/[\\\/]+$/, "") + "/" + clip + ".wav";
   if (path === "") {
      return tell("Bitwig does not tell scripts which file a clip plays: name the audio file, or its folder, in the panel.");
   }
   var color = cursor.color();
   var request = {
      kind: kind,
      name: cursor.name().get(),
      index: cursor.position().get(),
      slot: slot,
      color: [color.red(), color.green(), color.blue()],
      job: "",
      fraction: 0,
      asking: false,
   };
   var fields = { path: path };
   var prompt = panel.prompt.get().trim();
   if (prompt === "") fields.track = request.name;
   else fields.prompt = prompt;
   subscribe();
   send("/stembridge/ping", [], function (pong) {
      if (pong.getInt(2) !== API) {
         return tell("The Stembridge engine (version " + pong.getString(1) + ") and this script (version " + VERSION +
            ") do not fit together, so nothing was sent. Install again: stembridge install bitwig");
      }
      send("/stembridge/submit", [ascii(JSON.stringify(fields))], function (ack) {
         request.job = ack.getString(1);
         requests.push(request);
      }, function (code, text) {
         if (code === "no_prompt") text = "Its name says nothing. Write what to take out into “Prompt” in the panel.";
         tell("“" + request.name + "”: " + text);
      });
   }, null, function () {
      tell(NO_ENGINE);
   });
}

function cancel() {
   if (requests.length === 0) return tell("No request of this session is under way.");
   requests.forEach(function (request) {
      send("/stembridge/cancel", [request.job], function () {});
   });
}

function showProgress() {
   if (requests.length === 0) return tell("No request of this session is under way.");
   tell(requests.map(function (request) {
      return "“" + request.name + "” " + Math.round(100 * request.fraction) + " %";
   }).join(" · "));
}

// The engine -------------------------------------------------------------------------------------------------------

function subscribe() {
   send("/stembridge/subscribe", [HOST, String(OWN_PORT), "reply"], function () {}, null, function () {});
}

// Values are texts: what a number of JavaScript's becomes on the wire is Bitwig's secret, and the engine reads both.
function send(address, values, onAnswer, onError, onSilence) {
   var rid = "bitwig-" + run + "-" + nextRid++;
   waiting[rid] = { sentMs: Date.now(), onAnswer: onAnswer, onError: onError, onSilence: onSilence };
   // A method of Bitwig's is not a function of JavaScript's: it has no `apply`.
   if (values.length === 0) engine.sendMessage(address, rid);
   else if (values.length === 1) engine.sendMessage(address, rid, values[0]);
   else engine.sendMessage(address, rid, values[0], values[1], values[2]);
}

function answered(message) {
   if (!/^s/.test(message.getTypeTag().replace(/^,/, ""))) return;
   var rid = message.getString(0);
   var wait = waiting[rid];
   if (wait === undefined) return; // another client's, or one that came twice
   delete waiting[rid];
   silentSinceMs = null;
   if (message.getAddressPattern() !== "/stembridge/error") return wait.onAnswer(message);
   var text = message.getString(2);
   if (wait.onError) wait.onError(message.getString(1), text);
   else tell(text);
}

function tick() {
   var now = Date.now();
   Object.keys(waiting).forEach(function (rid) {
      var wait = waiting[rid];
      if (now - wait.sentMs < ANSWER_MS) return;
      delete waiting[rid];
      if (wait.onSilence) wait.onSilence();
   });
   requests.forEach(look);
   place(now);
   host.scheduleTask(tick, TICK_MS);
}

// A job is asked for until it has ended, so a lost datagram, or an engine that was started anew, does no harm.
function look(request) {
   if (request.asking) return;
   request.asking = true;
   send("/stembridge/job", [request.job], function (job) {
      request.asking = false;
      request.fraction = job.getFloat(3);
      var state = job.getString(2);
      if (state !== "done" && state !== "failed" && state !== "cancelled") return;
      requests.splice(requests.indexOf(request), 1);
      if (state === "failed") tell("“" + request.name + "”: " + job.getString(7));
      var target = job.getString(9), residual = job.getString(10);
      var note = job.getArguments().size() > 11 ? job.getString(11) : "";
      if (state === "done") withPrompt(request, function (prompt) {
         arrive(request, prompt, target, residual);
         if (note) tell("“" + request.name + "”: " + note); // not measured, not found, …
      });
   }, function (code, text) {
      requests.splice(requests.indexOf(request), 1);
      tell("“" + request.name + "”: " + text);
   }, function () {
      request.asking = false;
      subscribe(); // it may be another engine by now
      if (silentSinceMs === null) {
         silentSinceMs = Date.now();
         tell("The Stembridge engine has stopped; " + requests.length + " of this session's requests wait for it. " +
            "Start it again with: stembridge serve");
      }
   });
}

// The stems --------------------------------------------------------------------------------------------------------

// The words the engine worked with: it made them of the track's name.
function withPrompt(request, use) {
   send("/stembridge/jobs", ["0"], function (jobs) {
      var values = jobs.getArguments();
      for (var i = 1; i + 3 < values.size(); i++) {
         if (values.get(i) === request.job) return use(values.get(i + 3));
      }
      use("stem");
   }, null, function () {
      use("stem");
   });
}

function arrive(request, prompt, target, residual) {
   var stems = [
      { path: target, name: request.name + " · " + prompt },
      { path: residual, name: request.name + " · no " + prompt },
   ];
   if (request.kind === "remove") stems.reverse();
   stems.forEach(function (stem, n) {
      incoming.push({ path: stem.path, name: stem.name, muted: n === 1, source: request, at: request.index + 1 + n });
   });
}

// One track at a time: Bitwig makes it when it likes, and the next place depends on it.
function place(now) {
   if (making !== null) {
      if (bank.itemCount().get() > making.before) {
         fill(bank.getItemAt(making.stem.at), making.stem);
         making = null;
      } else if (now - making.sinceMs > TRACK_MS) {
         tell("Bitwig made no track for “" + making.stem.name + "”. The stem is " + making.stem.path);
         making = null;
      }
      return;
   }
   var stem = incoming.shift();
   if (stem === undefined) return;
   making = { stem: stem, before: bank.itemCount().get(), sinceMs: now };
   application.createAudioTrack(stem.at);
}

function fill(track, stem) {
   track.name().set(stem.name);
   track.color().set(stem.source.color[0], stem.source.color[1], stem.source.color[2]);
   track.mute().set(stem.muted);
   track.clipLauncherSlotBank().getItemAt(stem.source.slot).replaceInsertionPoint().insertFile(stem.path);
}

// OSC strings are ASCII; JSON says every other character in ASCII too.
function ascii(text) {
   return text.replace(/[\u0080-\uffff]/g, function (c) {
      return "\\u" + ("000" + c.charCodeAt(0).toString(16)).slice(-4);
   });
}

function tell(text) {
   host.println("Stembridge: " + text);
   host.showPopupNotification("Stembridge: " + text);
}
