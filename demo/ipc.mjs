/**
 * A service's side of its talk with the runner, over Node's IPC channel: verbs that the runner asks
 * for, and events that it is told. In life this would be the service's HTTP interface.
 */

/** Answers the runner's requests by `verbs`, until `stop` was answered or the runner is gone. */
export function serve(verbs) {
  process.on("message", ({ request, verb, argument }) => {
    verbs[verb](argument).then(
      (value) => process.send({ answer: request, value }, () => verb === "stop" && process.exit(0)),
      (error) =>
        process.send({ answer: request, error: `${error.code ?? "FAILED"}: ${error.message}` }),
    );
  });
  // The channel closes when the runner dies, even by SIGKILL: nothing is left behind.
  process.on("disconnect", () => process.exit(1));
  // Ctrl-C reaches the whole process group; the runner decides in which order things end.
  process.on("SIGINT", () => undefined);
  tell("ready");
}

export function tell(event, fields = {}) {
  process.send({ event, ...fields });
}
