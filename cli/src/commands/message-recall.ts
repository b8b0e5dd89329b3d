/** `escrow message recall`: a message that waits for its time or its key comes back before it is visible. */
import { safe } from "../escape.ts";
import type { Verb } from "../verb.ts";

interface RecallOptions {
  readonly group: string;
}

export const messageRecall: Verb<RecallOptions> = {
  examples: ["escrow message recall reminders 8f1c0a52d0e94c7b9a3f6e21b7d4c8aa"],
  options: (command) =>
    command.option("--group <group>", "the producer group to recall as", "escrow-cli"),
  run: async (session, { group }, topic, id) => {
    const sender = await session.io.services.createSender({ ...(await session.endpoint()), group });
    try {
      const { duplicate } = await sender.recall({ topic, id });
      const again = duplicate ? " It had been recalled before." : "";
      session.print.answer(
        { topic, id, duplicate },
        `${safe`Recalled ${id}: it never comes to ${topic}.`}${again}`,
      );
    } finally {
      await sender.close();
    }
    return undefined;
  },
};
