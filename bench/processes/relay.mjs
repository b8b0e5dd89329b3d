/** The process between database and broker that an outbox needs. */
import { adapter, cpuMs, fault, listen, task, tell } from "./parent.mjs";

let relay;

listen({
  usage() {
    tell("usage", { cpuMs: cpuMs() });
  },
  stop: () => relay?.close(),
});

try {
  const { openRelay } = await adapter();
  relay = await openRelay(task, fault);
  tell("ready");
} catch (error) {
  fault(error);
}
