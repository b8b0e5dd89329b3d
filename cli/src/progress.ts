/** How long work shows how far it is: a bar on a terminal, silence anywhere else. */
import { SingleBar } from "cli-progress";

export interface Progress {
  /** The total may become known, or grow, on the way. */
  update(done: number, total?: number): void;
  stop(): void;
}

export const SILENT: Progress = { update: () => undefined, stop: () => undefined };

export function progressBar(label: string, total: number, stream: NodeJS.WritableStream): Progress {
  const bar = new SingleBar({
    format: `${label} [{bar}] {percentage} %  {value}/{total}  {duration_formatted}`,
    barCompleteChar: "━",
    barIncompleteChar: "─",
    barsize: 30,
    // Nothing of the terminal is changed: a process that is killed could not undo it. What is too long is cut.
    linewrap: true,
    clearOnComplete: true,
    stopOnComplete: false,
    etaBuffer: 100,
    stream,
  });
  let isShown = false;
  return {
    // What is done at once shows no bar.
    update: (done, newTotal) => {
      if (!isShown) bar.start(newTotal ?? total, done);
      isShown = true;
      if (newTotal !== undefined && newTotal !== bar.getTotal()) bar.setTotal(newTotal);
      bar.update(done);
    },
    stop: () => bar.stop(),
  };
}
