/** `escrow request`: a message whose handler replies, and the reply on stdout. */
import { bodyText, safe } from "../escape.ts";
import { duration } from "../parse.ts";
import type { Verb } from "../verb.ts";
import { type MessageOptions, messageOf, withMessage } from "./send.ts";

interface RequestOptions extends MessageOptions {
  readonly timeout?: number;
}

const TIMEOUT_MS = 30_000;

export const request: Verb<RequestOptions> = {
  examples: [
    "escrow request --topic prices --body '{\"sku\":7}'",
    "escrow request --topic prices --body-file question.json --timeout 2s --json",
  ],
  options: (command) =>
    withMessage(command).option(
      "--timeout <duration>",
      "how long the reply may take (30s)",
      duration,
    ),
  run: async (session, options) => {
    const message = await messageOf(session.io, options);
    const sender = await session.io.services.createSender({
      ...(await session.endpoint()),
      group: options.group,
    });
    try {
      const { id, raw } = await sender.request({
        ...message,
        timeoutMs: options.timeout ?? TIMEOUT_MS,
      });
      session.print.answer({ id, body: raw }, bodyText(raw));
      session.print.note(safe`The reply to ${id}.`);
    } finally {
      await sender.close();
    }
    return undefined;
  },
};
