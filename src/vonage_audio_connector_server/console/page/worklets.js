// The two ends of the sound: they run in the thread of the audio, 128 samples at a time, and must not wait for anything.

const TARGET_S = 0.05; // the loudspeaker's cushion: so much may a frame be late
const MOST_S = 0.2; // what is more has piled up behind a stall, and would only make all that is heard late
const FADE_S = 0.004; // long enough for no click, too short to be heard
const DRIFT = 0.005; // how much faster or slower it plays at most, to keep the cushion: nobody hears it
const LOUD = 0.01; // of full scale: below it the loudspeaker is silent
const SILENT = 32; // of 32,768: nothing that anybody hears

// Cuts the microphone into frames of 16-bit PCM, at the rate of the call, whatever that of the context is.
class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate, size } }) {
    super();
    this.ratio = sampleRate / rate; // samples of the context for one of the call: their mean
    this.room = this.ratio;
    this.sum = 0;
    this.size = size;
    this.frame = new Int16Array(size);
    this.at = 0;
  }

  process([[channel]]) {
    if (!channel) return true;
    for (const sample of channel) {
      let left = 1;
      while (this.room <= left) {
        this.push((this.sum + sample * this.room) / this.ratio);
        left -= this.room;
        this.room = this.ratio;
        this.sum = 0;
      }
      this.sum += sample * left;
      this.room -= left;
    }
    return true;
  }

  push(sample) {
    this.frame[this.at++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32767)));
    if (this.at < this.size) return;
    this.port.postMessage(this.frame.buffer, [this.frame.buffer]);
    this.frame = new Int16Array(this.size);
    this.at = 0;
  }
}

// Plays frames of 16-bit PCM at the rate of the context, from a ring.
class Loudspeaker extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ring = new Float32Array(sampleRate * 2);
    this.read = 0; // where it plays, between two samples
    this.held = 0; // samples that are there
    this.mean = TARGET_S * sampleRate; // of them
    this.flows = false;
    this.gain = 0;
    this.tail = 0; // of what was cut off, fading
    this.last = 0;
    this.turn = this.underruns = 0;
    this.loudAt = -1;
    this.port.onmessage = ({ data }) => this.take(new Int16Array(data));
  }

  take(samples) {
    const target = Math.round(TARGET_S * sampleRate);
    if (this.held + samples.length > MOST_S * sampleRate) {
      this.read = (this.read + this.held - target) % this.ring.length;
      this.held = this.mean = target;
      this.cut();
    } else if (this.held > target * 1.4 && samples.every((sample) => Math.abs(sample) < SILENT)) {
      return; // the cushion has grown behind a stall: it shrinks where nobody hears it
    }
    let write = Math.round(this.read + this.held) % this.ring.length; // their sum is whole: both move by the same
    for (const sample of samples) {
      this.ring[write] = sample / 32768;
      write = (write + 1) % this.ring.length;
    }
    this.held += samples.length;
  }

  cut() {
    this.tail = this.last;
    this.gain = 0;
  }

  process(inputs, [channels]) {
    const out = channels[0], target = TARGET_S * sampleRate, fade = 1 / (FADE_S * sampleRate);
    if (!this.flows && this.held >= target) {
      this.flows = true;
      this.mean = this.held;
      this.cut();
    }
    this.mean += (this.held - this.mean) * 0.01;
    const step = 1 + Math.max(-DRIFT, Math.min(DRIFT, ((this.mean - target) / target) * 0.01));
    let peak = 0;
    for (let i = 0; i < out.length; i++) {
      if (this.flows && this.held < 2) {
        this.flows = false;
        this.underruns++;
        this.cut();
      }
      let sample = 0;
      if (this.flows) {
        const at = Math.floor(this.read), between = this.read - at, next = (at + 1) % this.ring.length;
        this.gain = Math.min(1, this.gain + fade);
        sample = (this.ring[at] * (1 - between) + this.ring[next] * between) * this.gain;
        this.read = (this.read + step) % this.ring.length;
        this.held -= step;
      }
      this.tail *= 1 - 2 * fade;
      out[i] = this.last = sample + this.tail;
      peak = Math.max(peak, Math.abs(this.last));
    }
    for (const other of channels.slice(1)) other.set(out);
    if (peak > LOUD) this.loudAt = currentTime;
    if (++this.turn % 3 === 0) {
      this.port.postMessage({ loudAt: this.loudAt, now: currentTime, bufferedMs: (this.held / sampleRate) * 1000, underruns: this.underruns });
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("loudspeaker", Loudspeaker);
