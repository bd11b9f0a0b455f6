import { type FSWatcher, statSync, watch } from "node:fs";
import { errorMessage } from "../../db/errors.ts";

/** The system bounds them too (inotify(7), max_user_watches); what is not watched is found by looking again. */
const maxWatchers = 2_000;

/** Listens for changes directly in a set of folders. */
export class FolderWatchers {
  /** By path and inode: a folder that was replaced is another one. */
  readonly #watchers = new Map<string, FSWatcher>();

  /**
   * Replaces the set of folders.
   *
   * @param onChange called often and without a reason being given.
   * @returns whether there are new ones, and a sentence for what cannot be watched.
   */
  watch(folders: string[], onChange: () => void): { areNew: boolean; problems: string[] } {
    let areNew = false;
    const problems = new Set<string>();
    const wanted = new Map<string, string>();
    for (const folder of folders.slice(0, maxWatchers)) {
      const identity = identityOf(folder);
      if (identity !== null) wanted.set(identity, folder);
    }
    if (folders.length > maxWatchers) {
      problems.add(
        `${folders.length} folders: only ${maxWatchers} are watched, the others are looked at now and then`,
      );
    }
    for (const [identity, watcher] of this.#watchers) {
      if (!wanted.has(identity)) this.#forget(identity, watcher);
    }
    for (const [identity, folder] of wanted) {
      if (this.#watchers.has(identity)) continue;
      try {
        const watcher = watch(folder, onChange);
        watcher.on("error", () => this.#forget(identity, watcher));
        this.#watchers.set(identity, watcher);
        areNew = true;
      } catch (error) {
        problems.add(
          `folders are looked at now and then only, events are not to be had: ${errorMessage(error)}`,
        );
      }
    }
    return { areNew, problems: [...problems] };
  }

  close(): void {
    for (const [identity, watcher] of this.#watchers) this.#forget(identity, watcher);
  }

  #forget(identity: string, watcher: FSWatcher): void {
    this.#watchers.delete(identity);
    watcher.close();
  }
}

function identityOf(folder: string): string | null {
  try {
    const { dev, ino } = statSync(folder, { bigint: true });
    return `${dev}:${ino}:${folder}`;
  } catch {
    return null; // gone meanwhile
  }
}
