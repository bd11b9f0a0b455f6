import { bodySizes, fitPayload, type SizeName } from "./fit-payload.ts";
import type { Payload } from "./payload.ts";

/** A request body, and the size that it was cut to. `1M`: nearly always nothing is cut. */
export interface Body {
  json: string;
  size: SizeName;
}

/** How long a size is remembered that the receiver refused. */
const memoryMs = 24 * 3_600_000;

/** Makes the bodies of an alert, and remembers which size the receiver refuses. */
export class Bodies {
  #refusedBytes = Number.POSITIVE_INFINITY;
  #refusedUntilMs = 0;

  /**
   * The bodies in which an alert is to be offered, one after the other while they are refused: whole, then smaller and
   * smaller. Those as large as one that was refused are left out, but there is always one.
   */
  *of(payload: Payload): Generator<Body> {
    let isOffered = false;
    const jsonOf = fitPayload(payload);
    const whole = jsonOf(bodySizes[0]!);
    for (const size of bodySizes) {
      const json = jsonOf(size);
      const isLastResort = !isOffered && size === bodySizes.at(-1);
      if (this.#isRefused(json) && !isLastResort) continue;
      isOffered = true;
      yield { json, size: json === whole ? "1M" : size.name };
    }
  }

  /** The receiver refused this body for its size (413). */
  refused({ json }: Body): void {
    const bytes = Buffer.byteLength(json);
    const isNews = performance.now() >= this.#refusedUntilMs || bytes < this.#refusedBytes;
    if (isNews) this.#refusedBytes = bytes;
    this.#refusedUntilMs = performance.now() + memoryMs;
  }

  #isRefused(json: string): boolean {
    return performance.now() < this.#refusedUntilMs && Buffer.byteLength(json) >= this.#refusedBytes;
  }
}
