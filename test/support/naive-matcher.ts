/**
 * Matching by its definition, entry by entry, slow and plain: the model that the index and the prefilter are tested against.
 * Shares no code with either.
 */

/** A name in the form that entries and SANs are compared in: trimmed, lower case, A-labels, no trailing dots. */
function canonical(raw: string): string {
  const labels = raw.trim().split(/[.\u3002\uff0e\uff61]/);
  return labels
    .map(aLabel)
    .join(".")
    .replace(/(?<!\.)\.+$/, "")
    .replace(/^\.+$/, "");
}

function aLabel(label: string): string {
  const isAscii = [...label].every((char) => char <= "\u007f");
  const asItIs = label.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  if (isAscii || label.length > 63 || /[^a-z0-9_*\u0080-\uffff-]/i.test(label)) return asItIs;
  const url = URL.canParse(`http://${label}.invalid/`) ? new URL(`http://${label}.invalid/`) : null;
  const converted = url?.hostname.replace(/\.invalid$/, "") ?? "";
  return /^[a-z0-9_.*-]+$/.test(converted) ? converted : asItIs;
}

/** The entry that a row of the watch list stands for, or null if the row is skipped. */
export function naiveEntry(raw: string): string | null {
  const entry = canonical(raw).replace(/^\*\./, "");
  const labels = entry.split(".");
  if (labels.length < 2 || !labels.every((label) => /^[a-z0-9_-]+$/.test(label))) return null;
  const isIpv4 =
    labels.length === 4 && labels.every((label) => /^(0|[1-9]\d{0,2})$/.test(label) && Number(label) < 256);
  return isIpv4 ? null : entry;
}

function covers(entry: string, name: string): boolean {
  if (!name.startsWith("*.")) return name === entry || name.endsWith(`.${entry}`);
  const base = name.slice(2);
  const oneLabelBelow = entry.endsWith(`.${base}`) && !entry.slice(0, -base.length - 1).includes(".");
  return base === entry || base.endsWith(`.${entry}`) || oneLabelBelow;
}

/** The entries that cover the SAN, sorted. */
export function naiveMatch(rawEntries: readonly string[], san: string): string[] {
  const names = new Set([...formsOf(san), ...runsOf(san)]);
  const entries = new Set(rawEntries.map(naiveEntry).filter((entry) => entry !== null));
  return [...entries].filter((entry) => [...names].some((name) => covers(entry, name))).sort();
}

/** What a SAN is matched as in any case: as it is, without scheme and user info, cut, and in the pieces of a list. */
function formsOf(san: string): string[] {
  return [san, ...san.split(/[,;]/)].flatMap((piece) => {
    const whole = piece.trim();
    const bare = whole.replace(/^[a-z][a-z0-9+.-]*:\/\//i, "").replace(/^[^/?#\\]*@/, "");
    return [whole, bare].flatMap((form) => [form, form.split(/[\0/?#:\\"'\s\u0085]/)[0]!]).map(canonical);
  });
}

/** Every run of characters that names have. */
function runsOf(san: string): string[] {
  const runs = san.split(/[\0-)+,/:-@[-^`{-\u007f\u0085]|(?!\ufeff)\s/);
  return runs.flatMap((run) => canonical(run).split(/[^a-z0-9_.*-]/)).map((name) => name.replace(/\.+$/, ""));
}
