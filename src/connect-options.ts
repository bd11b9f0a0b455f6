import { lookup } from "node:dns";
import { isIP, type LookupFunction, type NetConnectOpts, Socket } from "node:net";
import { buildConnector } from "undici";

/** The shortest time for connecting to one address: long enough for a handshake whose first packet is lost. */
const minShareMs = 2_000;

/** Options of `net.connect` and `tls.connect` that divide the time between the addresses of a name. */
export interface FairOptions {
  lookup?: LookupFunction;
  autoSelectFamilyAttemptTimeout?: number;
}

/**
 * Looks a name up and gives each of its addresses the same share of the time for connecting, 2 s at least. Without
 * these options Node.js tries the addresses one after the other, each but the last for 250 ms only. This is too short
 * for a server on another continent: if a name has two addresses and only the first works, no connection would ever
 * succeed.
 *
 * @param timeoutMs the time for connecting. When it is over, the caller itself ends the attempt.
 * @param lookUp looks the name up. Tests give their own function; all others use the system's.
 * @throws the error of the lookup, e.g. ENOTFOUND
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
 * A socket for libraries that call `connect` of a given socket themselves, as `pg` does: this `connect` gives each
 * address of a host name a fair share of `timeoutMs`.
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
        // If the socket was destroyed during the lookup, `connect` would open it again.
        if (this.destroyed) return;
        super.connect({ port: port as number, host, ...options });
        if (this.#isUnref) super.unref();
      },
      (error) => this.destroy(error),
    );
    return this;
  }

  /** Works also before `connect` has begun to connect; Node.js alone would unref the socket only when connected. */
  override unref(): this {
    this.#isUnref = true;
    return super.unref();
  }
}

/** Makes a connector for an undici dispatcher (option `connect`) that divides `timeoutMs` in the same way. */
export function fairConnector(timeoutMs: number): buildConnector.connector {
  return (target, callback) => {
    fairConnectOptions(target.hostname, timeoutMs).then(
      (options) => buildConnector({ timeout: timeoutMs, ...options })(target, callback),
      (error) => callback(error, null),
    );
  };
}
