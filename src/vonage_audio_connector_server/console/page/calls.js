// The calls of the server: those that are open, and how the latest ended.

import { base } from "./call.js";

const $ = (id) => document.getElementById(id);

export async function watchCalls(onAway) {
  let answer = null;
  try {
    answer = await fetch(new URL("calls", base), { cache: "no-store" });
    if (answer.ok) show(await answer.json());
  } catch {
    // The server is away: asked again in a second.
  }
  onAway(!answer?.ok);
  setTimeout(watchCalls, 1000, onAway);
}

function show({ live, ended }) {
  $("open-calls").hidden = !live.length;
  $("no-calls").hidden = live.length > 0;
  $("calls").replaceChildren(...live.map(row));
  const known = new Set([...$("ended").children].map((line) => line.dataset.id));
  if (ended.length !== known.size || ended.some(({ id }) => !known.has(id))) $("ended").replaceChildren(...ended.map(line));
}

function row({ id, place, stats }) {
  const gaps = Object.entries(stats.gaps).filter(([, count]) => count).map(([cause, count]) => `${count} ${cause}`);
  const seconds = (value, digits = 1) => `${value.toFixed(digits)} s`;
  const texts = [id.slice(0, 8), place, seconds(stats.duration_s, 0), stats.frames_in, stats.frames_out, seconds(stats.heard_s), seconds(stats.queued_s), gaps.join(", ") || "0"];
  const row = document.createElement("tr");
  for (const text of texts) row.insertCell().textContent = text;
  return row;
}

function line({ id, report }) {
  const line = document.createElement("li"), name = document.createElement("time"), text = document.createElement("div");
  line.dataset.id = id;
  name.textContent = id.slice(0, 8);
  text.textContent = report;
  line.append(name, text);
  return line;
}
