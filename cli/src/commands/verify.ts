/** `escrow verify`: reads a stopped broker's whole store and checks every block of it. Changes nothing. */
import { stat } from "node:fs/promises";
import { escapeText, safe } from "../escape.ts";
import { EXIT, UsageError } from "../failure.ts";
import { count, plural, size } from "../format.ts";
import type { Verb } from "../verb.ts";

export const verify: Verb = {
  examples: ["escrow verify ./data", "escrow verify ./backup --json"],
  run: async (session, _options, directory) => {
    await requireDirectory(directory);
    const progress = session.io.startProgress("verified", 0);
    const result = await session.io.services
      .verifyStore(directory, ({ blocks, blocksMax }) => progress.update(blocks, blocksMax))
      .finally(() => progress.stop());
    const read = `${plural(result.blocks, "block")}, ${plural(result.records, "record")}, ${plural(result.messages, "message")}, ${size(result.bytes)}`;
    const gone = result.first > 1 ? ` Blocks before ${count(result.first)} were retired.` : "";
    const problems = result.problems.length;
    const text =
      problems === 0
        ? `${session.print.paint("green", "Whole")}: ${safe`${directory}`} holds ${read}.${gone}`
        : [
            `${session.print.paint("red", `${count(problems)} found`)} in ${safe`${directory}`} (${read}):`,
            ...result.problems.map((problem) => `  ${escapeText(problem)}`),
            "Nothing was changed. Keep the directory; restore a backup beside it.",
          ].join("\n");
    session.print.answer(result, text);
    return problems === 0 ? EXIT.ok : EXIT.refused;
  },
};

async function requireDirectory(path: string): Promise<void> {
  const isDirectory = await stat(path).then(
    (found) => found.isDirectory(),
    // Expected: it does not exist, or may not be looked at; either way there is nothing to verify.
    () => false,
  );
  if (!isDirectory) throw new UsageError(`There is no data directory ${path}.`);
}
