/** What others wait for: whoever changes something that a condition depends on calls `changed`. */
export interface Waiters {
  changed(): void;
  /** Resolves as soon as the condition holds. It is asked now, and at every change. */
  until(isReached: () => boolean): Promise<void>;
}

export function createWaiters(): Waiters {
  const checks = new Set<() => void>();
  return {
    changed() {
      for (const check of [...checks]) check();
    },
    until: (isReached) =>
      new Promise((resolve) => {
        const check = () => {
          if (!isReached()) return;
          checks.delete(check);
          resolve();
        };
        checks.add(check);
        check();
      }),
  };
}
