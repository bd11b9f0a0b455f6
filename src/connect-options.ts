import { lookup } from "node:dns";
import { isIP, type LookupFunction, type NetConnectOpts, Socket } from "node:net";
import { buildConnector } from "undici";

/** The shortest time that an address gets: long enough for a handshake whose first packet is lost. */
const minShareMs = 2_000;

/** What `net.connect` and `tls.connect` need to divide the time between the addresses of a name. */
export interface FairOptions {
  lookup?: LookupFunction;
  autoSelectFamilyAttemptTimeout?: number;
}

/**
 * Looks a name up and gives each of its addresses the same share of the time to connect in, 2 s at least. Node.js tries
 * the addresses one after the other and gives each but the last 250 ms, which is too short for a server on another
 * continent: of a name with two addresses, of which only the first works, such a server would never be reached.
 *
 * @param timeoutMs the time that the caller has for connecting; the caller itself ends the attempt after it.
 * @param lookUp looks the name up; another one than the system's is for tests.
 * @throws what the lookup fails with, e.g. ENOTFOUND
 */
export async function fairConnectOptions(
  host: string,
  timeoutMs: number,
  lookUp: LookupFunction = lookup,
): Promise<FairOptions> {
  if (isIP(host) !== 0) return {};
  const addresses = await new Promise<{ address: string; family: number }[]>((resolve, reject) => {
    lookUp(host, { all: true }, (error, found) => {
      if (error) reject(error);
      else resolve(Array.isArray(found) ? found : []);
    });
  });
  return {
    autoSelectFamilyAttemptTimeout: Math.ceil(Math.max(timeoutMs / addresses.length, minShareMs)),
    lookup: (_host, { all }, callback) => {
      if (all) callback(null, addresses);
      else callback(null, addresses[0]!.address, addresses[0]!.family);
    },
  };
}

/**
 * A socket for libraries that are handed one and connect it themselves, as `pg` does: its `connect` gives each address
 * of a host name a fair share of `timeoutMs`.
 */
export class FairSocket extends Socket {
  readonly #timeoutMs: number;
  #isUnref = false;

  constructor(timeoutMs: number) {
    super();
    this.#timeoutMs = timeoutMs;
  }

  override connect(...args: unknown[]): this {
    const [port, host, onConnect] = args;
    if (typeof host !== "string") return super.connect(...(args as [NetConnectOpts]));
    if (typeof onConnect === "function") this.once("connect", onConnect as () => void);
    fairConnectOptions(host, this.#timeoutMs).then(
      (options) => {
        // `connect` would open a socket again that was destroyed while the name was looked up.
        if (this.destroyed) return;
        super.connect({ port: port as number, host, ...options });
        if (this.#isUnref) super.unref();
      },
      (error) => this.destroy(error),
    );
    return this;
  }

  /** Before it connects, too, where Node.js would wait with it until it is connected. */
  override unref(): this {
    this.#isUnref = true;
    return super.unref();
  }
}

/** The connector of an undici dispatcher (its option `connect`) that divides `timeoutMs` in the same way. */
export function fairConnector(timeoutMs: number): buildConnector.connector {
  return (target, callback) => {
    fairConnectOptions(target.hostname, timeoutMs).then(
      (options) => buildConnector({ timeout: timeoutMs, ...options })(target, callback),
      (error) => callback(error, null),
    );
  };
}
