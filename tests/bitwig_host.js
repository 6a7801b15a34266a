// A stand-in for Bitwig Studio's controller host: runs one script as it is, keeps a project, and checks every call.
//
//   node bitwig_host.js SCRIPT
//
// A command a line on stdin, an answer a line on stdout, both JSON. OSC goes over real UDP sockets of this machine.
// As in Bitwig: objects are made in `init` only, a value is read only after `markInterested`, tracks come later.
"use strict";
const dgram = require("dgram");
const fs = require("fs");
const vm = require("vm");

const project = { tracks: [], cursor: -1, popups: [], settings: {}, buttons: {}, sent: [] };
let initializing = false;
let sockets = 0;

function need(condition, text) {
   if (!condition) throw new Error(text);
}

function typed(value, type, what) {
   need(typeof value === type, `${what} must be a ${type}, not ${typeof value}`);
   return value;
}

function onlyInInit(what) {
   need(initializing, `${what} can only be called during init`);
}

function value(read, write, type) {
   let marked = false;
   return {
      markInterested() {
         onlyInInit("markInterested");
         marked = true;
      },
      get() {
         need(marked, "a value was read that nobody marked as interesting");
         return read();
      },
      set(...values) {
         need(!initializing, "a value was set during init");
         values.forEach((one) => typed(one, type, "set"));
         write(...values);
      },
   };
}

function slotOf(trackAt, index) {
   const at = () => (trackAt() || { slots: [] }).slots[index];
   return {
      name: memo(() => value(() => (at() ? at().name : ""), () => {}, "string")),
      hasContent: memo(() => value(() => at() !== undefined, () => {}, "boolean")),
      replaceInsertionPoint: () => ({
         insertFile(path) {
            need(fs.existsSync(typed(path, "string", "insertFile")), `there is no file ${path}`);
            const stem = path.split("/").pop().replace(/\.[^.]+$/, "");
            trackAt().slots[index] = { name: stem, path };
         },
      }),
   };
}

function memo(make) {
   let made;
   return () => (made = made || make());
}

function trackView(at, nScenes) {
   const slots = Array.from({ length: nScenes }, (_, i) => slotOf(at, i));
   const observers = [];
   const view = {
      observers,
      exists: memo(() => value(() => at() !== undefined, () => {}, "boolean")),
      name: memo(() => value(() => (at() ? at().name : ""), (name) => (at().name = name), "string")),
      position: memo(() => value(() => project.tracks.indexOf(at()), () => {}, "number")),
      mute: memo(() => value(() => at().mute, (on) => (at().mute = on), "boolean")),
      color: memo(() => {
         const color = value(() => null, (r, g, b) => (at().color = [r, g, b]), "number");
         return Object.assign(color, { red: () => at().color[0], green: () => at().color[1], blue: () => at().color[2] });
      }),
      clipLauncherSlotBank: memo(() => ({
         getItemAt: (i) => slots[typed(i, "number", "getItemAt")],
         addIsSelectedObserver(callback) {
            onlyInInit("addIsSelectedObserver");
            observers.push(callback);
         },
      })),
   };
   return view;
}

let cursorView;

const host = {
   defineController: (...values) => values.forEach((one) => typed(one, "string", "defineController")),
   defineMidiPorts() {},
   println: (text) => typed(text, "string", "println"),
   showPopupNotification: (text) => project.popups.push(typed(text, "string", "showPopupNotification")),
   scheduleTask: (task, ms) => setTimeout(() => task(), typed(ms, "number", "scheduleTask")),
   createApplication() {
      onlyInInit("createApplication");
      return {
         createAudioTrack(position) {
            need(Number.isInteger(position), "createAudioTrack takes a position");
            setTimeout(() => project.tracks.splice(position, 0, newTrack("Audio")), 30);
         },
      };
   },
   createMainTrackBank(nTracks, nSends, nScenes) {
      onlyInInit("createMainTrackBank");
      const views = Array.from({ length: nTracks }, (_, i) => trackView(() => project.tracks[i], nScenes));
      const count = value(() => project.tracks.length, () => {}, "number");
      return { itemCount: () => count, getItemAt: (i) => views[typed(i, "number", "getItemAt")] };
   },
   createCursorTrack(id, name, nSends, nScenes, follows) {
      onlyInInit("createCursorTrack");
      typed(follows, "boolean", "createCursorTrack");
      cursorView = trackView(() => project.tracks[project.cursor], nScenes);
      return cursorView;
   },
   getDocumentState() {
      onlyInInit("getDocumentState");
      return {
         getStringSetting(label, category, nChars, initial) {
            typed(nChars, "number", "getStringSetting");
            project.settings[label] = typed(initial, "string", "getStringSetting");
            return value(() => project.settings[label], () => {}, "string");
         },
         getSignalSetting(label, category, action) {
            typed(action, "string", "getSignalSetting");
            return { addSignalObserver: (callback) => (project.buttons[label] = callback) };
         },
      };
   },
   getOscModule: () => oscModule,
};

const oscModule = {
   createAddressSpace() {
      onlyInInit("createAddressSpace");
      let method = () => {};
      return { registerDefaultMethod: (callback) => (method = callback), dispatch: (message) => method(null, message) };
   },
   createUdpServer(port, space) {
      onlyInInit("createUdpServer");
      const socket = dgram.createSocket("udp4");
      sockets++;
      socket.on("message", (packet) => guarded(() => space.dispatch(decoded(packet))));
      socket.bind(port, "127.0.0.1", () => opened());
   },
   connectToUdpServer(address, port, space) {
      onlyInInit("connectToUdpServer");
      const socket = dgram.createSocket("udp4");
      socket.on("error", () => {});
      const sendMessage = (path, ...values) => {
         need(!initializing, "sendMessage cannot be called during init");
         project.sent.push(path);
         socket.send(encoded(typed(path, "string", "sendMessage"), values), port, address);
      };
      return { sendMessage: ofJava(sendMessage) };
   },
};

/** A method of a Java object: it can be called, and has none of a function's own methods. */
function ofJava(method) {
   return Object.setPrototypeOf(method, null);
}

function padded(text) {
   need(/^[\x01-\x7f]*$/.test(text), "OSC strings are ASCII");
   const bytes = Buffer.from(`${text}\0`);
   return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

function encoded(path, values) {
   values.forEach((one) => typed(one, "string", `what a number becomes is not documented: an argument of ${path}`));
   return Buffer.concat([padded(path), padded(`,${"s".repeat(values.length)}`), ...values.map(padded)]);
}

function decoded(packet) {
   let at = 0;
   const text = () => {
      const end = packet.indexOf(0, at);
      const found = packet.toString("utf8", at, end);
      at = (end + 4) & ~3;
      return found;
   };
   const path = text();
   const tags = text();
   const read = { s: text, i: () => packet.readInt32BE((at += 4) - 4), f: () => packet.readFloatBE((at += 4) - 4) };
   Object.assign(read, { T: () => true, F: () => false, d: () => packet.readDoubleBE((at += 8) - 8) });
   read.h = () => packet.readBigInt64BE((at += 8) - 8); // Bitwig's getLong
   const values = [...tags.slice(1)].map((tag) => read[tag]());
   // Each getter takes the one type it is named after.
   const of = (tag) => (i) => {
      need(tags[i + 1] === tag, `argument ${i} of ${path} has the type ${tags[i + 1]}, not ${tag}`);
      return values[i];
   };
   return {
      getAddressPattern: () => path,
      getTypeTag: () => tags,
      getString: of("s"),
      getInt: of("i"),
      getFloat: of("f"),
      getArguments: () => ({ size: () => values.length, get: (i) => values[i] }),
   };
}

function newTrack(name) {
   return { name, color: [0.5, 0.5, 0.5], mute: false, slots: {} };
}

function guarded(act) {
   try {
      return act();
   } catch (error) {
      answer({ defect: String(error.stack) });
      process.exit(1);
   }
}

function answer(told) {
   fs.writeSync(1, `${JSON.stringify(told)}\n`);
}

const commands = {
   track({ name, color, slots }) {
      project.tracks.push({ ...newTrack(name), color, slots });
   },
   select({ track, slot }) {
      project.cursor = track;
      if (slot !== null) cursorView.observers.forEach((callback) => callback(slot, true));
   },
   set({ label, text }) {
      need(label in project.settings, `there is no setting ${label}`);
      project.settings[label] = text;
   },
   press({ label }) {
      project.buttons[label]();
   },
   state() {},
};

function opened() {
   if (--sockets > 0) return;
   answer({ ready: true });
   require("readline")
      .createInterface({ input: process.stdin })
      .on("line", (line) => {
         const command = JSON.parse(line);
         guarded(() => commands[command.do](command));
         const { tracks, popups, sent } = project;
         answer({ tracks, popups, sent });
      })
      .on("close", () => process.exit(0));
}

process.on("uncaughtException", (error) => {
   answer({ defect: String(error.stack) });
   process.exit(1);
});
const context = vm.createContext({ host, loadAPI: (version) => typed(version, "number", "loadAPI") });
vm.runInContext(fs.readFileSync(process.argv[2], "utf8"), context, { filename: process.argv[2] });
initializing = true;
vm.runInContext("init()", context);
initializing = false;
