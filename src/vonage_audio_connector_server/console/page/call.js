// One call: the WebSocket to the server, and the microphone and the loudspeaker of this browser.

import { levelOf } from "./timeline.js";

export const base = new URL(".", import.meta.url);

export class Call {
  // `on` has functions: told(message), heard(level), said(level), sounds(figures), ended(failure).
  constructor(on) {
    this.on = on;
    this.sent = this.received = 0;
    this.isOver = this.isMuted = this.isTold = false;
    this.speaks = false; // the microphone does
  }

  async open(start, withMicrophone) {
    try {
      this.rate = start.rate_hz;
      this.audio = new AudioContext({ sampleRate: this.rate, latencyHint: "interactive" });
      await this.audio.resume();
      await this.audio.audioWorklet.addModule(new URL("worklets.js", base));
      this.loudspeaker = new AudioWorkletNode(this.audio, "loudspeaker", { outputChannelCount: [2] });
      this.loudspeaker.connect(this.audio.destination);
      this.loudspeaker.port.onmessage = ({ data }) => this.on.sounds(data);
    } catch (error) {
      const why = isSecureContext ? error.message : "a browser gives sound to a page on this machine, or with https";
      this.end((await whyNot()) || sentence(`there is no sound: ${why}`));
      return;
    }
    if (withMicrophone) await this.listen();
    if (this.isOver) return;
    const address = new URL("talk", base);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.socket.send(JSON.stringify({ start }));
    this.socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        this.isTold = true;
        this.on.told(JSON.parse(data));
        return;
      }
      this.received++;
      this.on.heard(levelOf(new Int16Array(data)));
      this.loudspeaker.port.postMessage(data, [data]);
    };
    this.socket.onclose = async () => this.end(this.isTold ? "" : (await whyNot()) || "The server broke the call off.");
  }

  // Open the microphone, where it isn't yet. Where that is refused the call goes on, and a recording can speak.
  async listen() {
    this.speaks = true;
    if (this.stream) return;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
      if (this.isOver) {
        this.release();
        return;
      }
      const microphone = await this.microphone();
      microphone.port.onmessage = ({ data }) => {
        if (!this.speaks || this.socket?.readyState !== WebSocket.OPEN || !this.isTold) return;
        this.on.said(this.isMuted ? -96 : levelOf(new Int16Array(data)));
        this.socket.send(data);
        this.sent++;
      };
    } catch (error) {
      const what = error.name === "NotFoundError" ? "There is no microphone" : `The microphone can’t be used (${error.name})`;
      this.on.told({ problem: `${what}: allow it for this page, or choose a recording that speaks` });
    }
  }

  async microphone() {
    const options = { numberOfOutputs: 0, processorOptions: { rate: this.rate, size: this.rate / 50 } };
    let audio = this.audio, source;
    try {
      source = audio.createMediaStreamSource(this.stream);
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      // Firefox takes a microphone at its own rate alone: the worklet brings it to that of the call.
      audio = this.ownAudio = new AudioContext({ latencyHint: "interactive" });
      await audio.audioWorklet.addModule(new URL("worklets.js", base));
      source = audio.createMediaStreamSource(this.stream);
    }
    const microphone = new AudioWorkletNode(audio, "microphone", options);
    source.connect(microphone);
    return microphone;
  }

  send(command) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(command));
  }

  hangUp() {
    if (this.socket?.readyState === WebSocket.OPEN) this.send({ hang_up: true });
    else this.end("");
  }

  end(failure) {
    if (this.isOver) return;
    this.isOver = true;
    this.release();
    if (this.socket && this.socket.readyState < WebSocket.CLOSING) this.socket.close();
    this.on.ended(failure);
  }

  release() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    for (const audio of [this.audio, this.ownAudio]) if (audio && audio.state !== "closed") audio.close();
  }
}

// Why the server gave nothing: a WebSocket that is refused doesn't say. Empty: it answers.
async function whyNot() {
  try {
    const answer = await fetch(new URL("calls", base), { cache: "no-store" });
    return answer.ok ? "" : sentence(await answer.text());
  } catch {
    return "The server is away: start it again, and open the link that it prints.";
  }
}

export function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
