import { bodySizes, fitPayload, type SizeName } from "./fit-payload.ts";
import type { Payload } from "./payload.ts";

/** A request body, and the size to which it was cut. Size `1M` is nearly always the whole alert. */
export interface Body {
  json: string;
  size: SizeName;
}

/** How long we remember a size that the receiver refused. */
const memoryMs = 24 * 3_600_000;

/** Makes the bodies of an alert, and remembers which size the receiver refuses. */
export class Bodies {
  #refusedBytes = Number.POSITIVE_INFINITY;
  #refusedUntilMs = 0;

  /**
   * Yields the bodies in which to offer an alert, one after the other until the receiver accepts one: first the whole
   * alert, then smaller and smaller. Leaves out bodies as large as one that was refused, but always yields at least
   * one.
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

  /** Notes that the receiver refused this body because of its size (413). */
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
