import { type FSWatcher, statSync, watch } from "node:fs";
import { errorMessage } from "../../db/errors.ts";

/** The most folders to watch; others are only looked at again. Linux has a limit, too: inotify(7), max_user_watches. */
const maxWatchers = 2_000;

/** Listens for changes directly in the folders of a set, not in folders inside them. */
export class FolderWatchers {
  /** The watchers by path and inode of their folder. A folder that was replaced gets a new watcher. */
  readonly #watchers = new Map<string, FSWatcher>();

  /**
   * Replaces the set of folders.
   *
   * @param onChange called, often several times, after a change; it is not told which change.
   * @returns whether a folder is watched that was not before, and sentences that say why folders are not watched.
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
        `there are ${folders.length} folders: changes in ${maxWatchers} of them are seen at once, in the others later`,
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
          `changes in some folders are seen later, because the system does not report them: ${errorMessage(error)}`,
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
    return null; // the folder is gone
  }
}
