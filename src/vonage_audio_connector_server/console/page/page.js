// The page: its buttons, its keys, and what it shows of the call.

import { Call, base, sentence } from "./call.js";
import { watchCalls } from "./calls.js";
import { Timeline } from "./timeline.js";

const $ = (id) => document.getElementById(id);
const SETTINGS = ["rate-hz", "transport", "router", "path", "headers"];
const COMMANDS = ["websocket:cleared", "clear", "clearAudio", "notify"]; // of the program to the router: no captions
const WORDS = { idle: "ready", opening: "calling …", open: "in the call", closing: "hanging up …", failed: "the call failed", away: "the server is away", ended: "the call has ended" };
const MOST_LINES = 300;
const SILENT_S = 0.25; // the loudspeaker is silent when nothing loud followed for so long

// What tests, and whoever is curious, may read.
const figures = (window.__console = {});
const timeline = new Timeline($("levels"));
let call = null; // the one that is open

function setState(state) {
  figures.state = state;
  const isOpen = state === "open", isOn = isOpen || state === "opening" || state === "closing";
  $("state").dataset.state = state;
  $("state").textContent = WORDS[state];
  $("call").textContent = isOn ? "Hang up" : "Call";
  $("call").classList.toggle("end", isOn);
  for (const control of [$("interrupt"), $("mute"), $("say"), ...$("keys").children]) control.disabled = !isOpen;
  for (const id of SETTINGS) $(id).disabled = isOn;
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

function begin() {
  for (const id of ["alert", "notice"]) show(id, "");
  for (const id of ["events", "captions"]) $(id).replaceChildren();
  for (const id of ["answer", "silent", "gaps", "buffer", "rate"]) $(id).textContent = "–";
  for (const id of ["answer-more", "silent-more", "gaps-more", "time"]) $(id).textContent = "";
  $("no-captions").hidden = $("no-events").hidden = false;
  $("kept").hidden = $("hint").hidden = true;
  timeline.reset();
  Object.assign(figures, { sent: 0, received: 0, rates: [], firstMessage: null, silentAfterMs: null, ended: null, underruns: 0, answers: [], interruptions: [] });
  setState("opening");
  const one = (call = new Call({
    told: (message) => one === call && take(message),
    heard: (level) => { timeline.addHeard(level); meters.heard.push(level); },
    said: (level) => meters.said.push(level),
    sounds: (sound) => listen(one, sound),
    ended: (failure) => one === call && end(failure),
  }));
  one.counted = { sent: 0, received: 0, at: performance.now() };
  one.open(settings(), !$("source").value);
}

function settings() {
  const headers = {};
  for (const line of $("headers").value.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) headers[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  return { rate_hz: Number($("rate-hz").value), transport: $("transport").value, router: $("router").value, path: $("path").value || "/", headers };
}

function end(failure) {
  const { ended } = figures;
  call = null;
  failure ||= advice(ended);
  setState(failure ? "failed" : "ended");
  if (failure) show("alert", failure);
  if (!failure && ended) show("notice", ended.by === "simulator" ? "" : "Your program hung up.");
  showMuted(false);
  for (const side of Object.values(meters)) side.length = 0;
}

// What to do about the end of a call; empty where it ended well.
function advice(ended) {
  if (!ended) return "";
  if (ended.code === 1011) return "Your program failed: its traceback is in the events, and in the server’s log.";
  if (ended.code === 1012) return "The server stopped: start it again, and open the link that it prints.";
  if (ended.error) return sentence(ended.error);
  return ended.code === 1006 && ended.reason ? sentence(ended.reason) : "";
}

// What the server tells

function take(message) {
  if (message.connected) {
    setState("open");
    if ($("source").value) say();
  } else if (message.status) showStatus(message.status);
  else if (message.event) showEvent(message.event);
  else if (message.turn) showTurn(message.turn);
  else if (message.problem) show("alert", sentence(message.problem));
  else if (message.error) {
    const refused = message.error.includes("HTTP 403") ? " Give what it wants in the path’s query, or as a header." : "";
    call.end(sentence(message.error) + refused);
  } else if (message.ended) {
    figures.ended = message.ended;
    for (const [id, name] of [["recording", "recording.wav"], ["report", "report.html"], ["events-file", "events.jsonl"]]) {
      $(id).href = new URL(`kept/${message.ended.kept}/${name}`, base);
    }
    $("kept").hidden = false;
  }
}

function showStatus(status) {
  quantity("buffer", status.buffer_ms, "ms");
  $("gaps").textContent = status.gaps;
  const minutes = Math.floor(status.at_s / 60), seconds = Math.floor(status.at_s % 60);
  $("time").textContent = `${minutes}:${String(seconds).padStart(2, "0")}`;
  timeline.addSaid(status.at_s, status.said_dbfs);
  if ($("source").value) meters.said.push(...status.said_dbfs.slice(-1));
  Object.assign(figures, { sent: call.sent, received: call.received, bufferMs: status.buffer_ms });
  const now = performance.now(), { counted } = call;
  if (now - counted.at < 1000) return;
  const per = (name) => (call[name] - counted[name]) / ((now - counted.at) / 1000);
  figures.rates.push([per("sent"), per("received")]);
  $("rate").textContent = `${per("sent").toFixed(0)} / ${per("received").toFixed(0)}`;
  call.counted = { sent: call.sent, received: call.received, at: now };
}

function showEvent(event) {
  if (event.from === "note") {
    const { note, at_s: atS, from, ...rest } = event;
    const isBad = note === "error" || rest.level === "ERROR";
    const text = rest.text ?? Object.entries(rest).filter(([, value]) => value !== "").map(([name, value]) => `${name}: ${value}`).join(", ");
    if (note !== "gap") {
      line("events", atS, rest.level ? `log, ${rest.level.toLowerCase()}` : note, isBad ? "bad" : rest.level === "WARNING" ? "warn" : "", text);
      return;
    }
    const ms = Math.round((rest.until_s - rest.since_s) * 1000);
    line("events", atS, `gap of ${ms} ms`, "warn", `cause: ${rest.cause}`);
    $("gaps-more").textContent = `the last: ${ms} ms, ${rest.cause}`;
    timeline.mark("gap", rest.since_s, rest.until_s, `gap ${ms} ms`);
    return;
  }
  let data = null;
  try { data = JSON.parse(event.text); } catch { /* no JSON: shown as it is */ }
  const isObject = data !== null && typeof data === "object" && !Array.isArray(data);
  const name = (isObject && (data.event || data.action)) || "text";
  const text = data === null ? event.text : event.text.length < 90 ? JSON.stringify(data) : JSON.stringify(data, null, 2);
  line("events", event.at_s, String(name), event.from, text);
  if (event.from === "session") figures.firstMessage ??= event.text;
  if (event.from === "session" || COMMANDS.includes(name)) return;
  const caption = isObject && (data.text ?? data.caption ?? data.transcript);
  $("no-captions").hidden = true;
  if (typeof caption === "string") line("captions", event.at_s, caption, "program", "");
  else line("captions", event.at_s, data === null ? event.text : String(name), "program", data === null ? "" : JSON.stringify(data, null, 2));
}

function showTurn(turn) {
  if (turn.answered_after_s !== undefined) {
    const { answered_after_s: afterS, at_s: atS } = turn, all = figures.answers;
    all.push(afterS);
    quantity("answer", afterS.toFixed(2), "s");
    if (all.length > 1) $("answer-more").textContent = `${all.length} turns, ${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)} s`;
    line("events", atS, "answer", "", `its first sound came ${afterS.toFixed(2)} s after the end of your speech`);
    timeline.mark("answer", atS - afterS, atS, `${afterS.toFixed(2)} s`);
    return;
  }
  const { interrupted_at_s: atS, silent_after_s: afterS, heard_s: heardS } = turn;
  figures.interruptions.push(turn);
  const heard = `${heardS.toFixed(1)} s of the answer were heard`;
  $("silent-more").textContent = heard;
  if (afterS === null) {
    $("silent").textContent = "not at all";
    line("events", atS, "interruption", "bad", `your program spoke on; ${heard}`);
  } else {
    quantity("silent", afterS.toFixed(2), "s");
    line("events", atS, "interruption", "", `silent ${afterS.toFixed(2)} s later; ${heard}`);
    timeline.mark("interruption", atS, atS + afterS, `silent in ${afterS.toFixed(2)} s`);
  }
}

function quantity(id, value, unit) {
  const small = document.createElement("small");
  small.textContent = ` ${unit}`;
  $(id).replaceChildren(String(value), small);
}

function line(id, atS, title, kind, text) {
  const list = $(id), follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const item = document.createElement("li"), time = document.createElement("time"), body = document.createElement("div");
  const head = document.createElement("b");
  time.textContent = atS.toFixed(2);
  head.textContent = title;
  head.className = kind;
  body.append(head);
  if (text) body.appendChild(document.createElement("pre")).textContent = text;
  item.append(time, body);
  let before = list.lastElementChild; // what is told later may have happened before
  while (before && Number(before.firstChild.textContent) > atS) before = before.previousElementSibling;
  if (before) before.after(item);
  else list.prepend(item);
  if (id === "events") $("no-events").hidden = true;
  if (list.children.length > MOST_LINES) list.firstChild.remove();
  if (follows) list.scrollTop = list.scrollHeight;
}

// Meters: up at once, down slowly

const meters = { said: [], heard: [] };
const shown = { said: 0, heard: 0 };
let metersAt = performance.now();
function moveMeters() {
  const now = performance.now(), fall = (now - metersAt) / 700;
  metersAt = now;
  for (const side of ["said", "heard"]) {
    const level = Math.max(0, ...meters[side].splice(0).map((dbfs) => (dbfs + 60) / 55));
    shown[side] = Math.min(1, Math.max(level, shown[side] - fall, 0));
    $(`${side}-level`).style.transform = `scaleX(${shown[side].toFixed(3)})`;
  }
  requestAnimationFrame(moveMeters);
}
requestAnimationFrame(moveMeters);

// What the loudspeaker does

function listen(one, sound) {
  figures.underruns = sound.underruns;
  figures.loudspeakerMs = sound.bufferedMs;
  if (one.interruptedAt === undefined || sound.now - Math.max(sound.loudAt, one.interruptedAt) < SILENT_S) return;
  figures.silentAfterMs = Math.max(0, sound.loudAt - one.interruptedAt) * 1000;
  one.interruptedAt = undefined;
}

// What the buttons and the keys do

function callOrHangUp() {
  if (!call) begin();
  else {
    const one = call;
    if (figures.state === "open") setState("closing");
    one.hangUp();
  }
}

function interrupt() {
  if (figures.state !== "open") return;
  figures.silentAfterMs = null;
  call.interruptedAt = call.audio.currentTime;
  call.send({ interrupt: true });
}

function mute() {
  if (figures.state !== "open") return;
  call.isMuted = !call.isMuted;
  showMuted(call.isMuted);
  call.send({ mute: call.isMuted });
}

function showMuted(isMuted) {
  $("mute").setAttribute("aria-pressed", String(isMuted));
  $("mute").textContent = isMuted ? "Muted" : "Mute";
}

function say() { if ($("source").value) call?.send({ say: $("source").value }); }

$("call").onclick = callOrHangUp;
$("interrupt").onclick = interrupt;
$("mute").onclick = mute;
$("say").onclick = say;
$("source").onchange = () => {
  $("say").hidden = !$("source").value;
  if (!call) return;
  call.speaks = false;
  if ($("source").value) say();
  else call.listen();
};
for (const key of "123456789*0#") {
  const button = document.createElement("button");
  button.textContent = key;
  button.setAttribute("aria-label", `press ${key}`);
  button.onclick = () => call?.send({ press: key });
  $("keys").append(button);
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const key = event.key.toLowerCase();
  if (key === "c") callOrHangUp();
  else if (key === "i") interrupt();
  else if (key === "m") mute();
  else if (/^[0-9*#]$/.test(key) && figures.state === "open") call.send({ press: key });
});
watchCalls((isAway) => {
  if (call || isAway === (figures.state === "away")) return;
  setState(isAway ? "away" : "idle");
  if (isAway) show("alert", "The server is away, or this page’s link is old: open the link that the server prints when it starts.");
  else show("alert", "");
});
setState("idle");
