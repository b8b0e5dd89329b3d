/** A child process's side of the talk with the runner; the runner's is process.mjs. */

/** What the runner told this process to do, from its arguments. */
export const task = JSON.parse(process.argv[2]);

export function tell(kind, fields = {}) {
  // The runner may have given up on this process already.
  if (process.connected) process.send({ kind, ...fields });
}

export const fault = (error) =>
  tell("fault", { text: String(error?.stack ?? error).slice(0, 2_000) });

/**
 * Answers the runner's messages by kind; a handler that throws is a fault of the whole measurement.
 * After "stop" the process exits by itself, so that a profile is written. It never outlives the runner.
 */
export function listen(handlers) {
  process.on("message", async (message) => {
    try {
      await handlers[message.kind]?.(message);
    } catch (error) {
      fault(error);
    }
    if (message.kind === "stop") process.exit();
  });
  process.on("disconnect", () => process.exit());
}

export const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

export const adapter = () => import(new URL(`../adapters/${task.adapter}.mjs`, import.meta.url));

/** Opens many connections without a storm of handshakes. */
export async function openAll(count, open) {
  const opened = [];
  while (opened.length < count) {
    const slice = Math.min(50, count - opened.length);
    opened.push(...(await Promise.all(Array.from({ length: slice }, open))));
  }
  return opened;
}
