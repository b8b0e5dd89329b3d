/** `escrow tx …`: what is undecided, and deciding it by hand. `tx show` is drawn by timeline.ts. */
import type { FinalVerdict, TransactionView } from "@escrowmq/protocol";
import { Option } from "commander";
import { lastWord, safe } from "../escape.ts";
import { count, size, span } from "../format.ts";
import type { Column } from "../print.ts";
import {
  type PageOptions,
  pageFields,
  type ReasonOptions,
  type Verb,
  withPage,
  withReason,
} from "../verb.ts";
import { inspect } from "./timeline.ts";

interface ListOptions extends PageOptions {
  readonly state?: "undecided" | "parked";
  readonly group?: string;
}

export const txList: Verb<ListOptions> = {
  examples: ["escrow tx list", "escrow tx list --state parked --group order-service"],
  options: (command) =>
    withPage(command)
      .addOption(
        new Option("--state <state>", "only these").choices(["undecided", "parked"] as const),
      )
      .option("--group <group>", "only those of this producer group"),
  run: async (session, options) => {
    const { state, group } = options;
    const page = await session.request("tx.list", {
      ...(state === undefined ? {} : { state }),
      ...(group === undefined ? {} : { group }),
      ...pageFields(options),
    });
    session.print.page(page, {
      columns: COLUMNS,
      empty:
        "Nothing waits for a verdict. A decided transaction is found by its id: escrow tx show <id>",
      command: `escrow tx list${state === undefined ? "" : ` --state ${state}`}${group === undefined ? "" : safe` --group ${group}`}`,
      isFirst: options.after === undefined,
    });
    return undefined;
  },
};

export const txShow: Verb = {
  examples: [
    "escrow tx show 4f9Zr0mT1c2yQ7uWbLk8Xg",
    "escrow tx show -- -an-id-that-begins-with-a-dash",
  ],
  run: async (session, _options, transactionId) => {
    const view = await session.request("tx.show", { transactionId });
    session.print.answer(view, inspect(session.print, view));
    return undefined;
  },
};

export const txCheck: Verb<ReasonOptions> = {
  examples: ["escrow tx check 4f9Zr0mT1c2yQ7uWbLk8Xg"],
  options: (command) =>
    command.option("--reason <text>", "why; recorded with the operator's name", "asked by hand"),
  run: async (session, options, transactionId) => {
    const audit = session.audit(options.reason);
    const view = await session.request("tx.check", { transactionId, ...audit });
    const asked = safe`Its producer group ${view.group} is being asked. See the answer: escrow tx show`;
    const waits = safe`Nobody of its producer group ${view.group} is there to be asked. Whoever comes is asked at once. See who is there: escrow producer list`;
    session.print.answer(view, view.reachable ? `${asked} ${lastWord(transactionId)}` : waits);
    return undefined;
  },
};

export const txCommit = decide("commit");
export const txRollback = decide("rollback");

export const txResume: Verb<ReasonOptions> = {
  examples: ['escrow tx resume 4f9Zr0mT1c2yQ7uWbLk8Xg --reason "order service is back"'],
  options: withReason,
  run: async (session, options, transactionId) => {
    const audit = session.audit(options.reason);
    const view = await session.request("tx.resume", { transactionId, ...audit });
    session.print.answer(
      view,
      safe`Transaction ${transactionId} is undecided again and is checked.`,
    );
    return undefined;
  },
};

function decide(verdict: FinalVerdict): Verb<ReasonOptions> {
  const why = verdict === "commit" ? "order 42 is in the database" : "order 42 was never placed";
  return {
    examples: [`escrow tx ${verdict} 4f9Zr0mT1c2yQ7uWbLk8Xg --reason "${why}"`],
    options: withReason,
    run: async (session, options, transactionId) => {
      const audit = session.audit(options.reason);
      const view = await session.request("tx.decide", { transactionId, verdict, ...audit });
      const effect =
        verdict === "commit"
          ? "committed: its messages are visible now; those delayed or queued, in their turn."
          : "rolled back: its messages will never be seen.";
      session.print.answer(view, `${safe`Transaction ${transactionId}`} ${effect}`);
      return undefined;
    },
  };
}

const COLUMNS: readonly Column<TransactionView>[] = [
  { head: "TRANSACTION", of: (tx) => tx.transactionId },
  { head: "PRODUCER GROUP", of: (tx) => tx.group },
  {
    head: "STATE",
    of: (tx) => tx.state,
    style: (tx) => (tx.state === "parked" ? "yellow" : undefined),
  },
  { head: "AGE", of: (tx) => span(tx.ageMs), align: "right" },
  { head: "MESSAGES", spare: 2, of: (tx) => count(tx.messages.length), align: "right" },
  {
    head: "SIZE",
    spare: 1,
    of: (tx) => size(tx.messages.reduce((sum, message) => sum + message.bytes, 0)),
    align: "right",
  },
  { head: "CHECKS", spare: 3, of: (tx) => count(tx.checks), align: "right" },
  { head: "NEXT CHECK", spare: 4, of: nextCheck, align: "right" },
];

/** Counted from the broker's own now, so that a wrong clock here shows no nonsense. */
function nextCheck(tx: TransactionView): string {
  if (tx.nextCheckAtMs === undefined) return "-";
  const inMs = tx.nextCheckAtMs - (tx.preparedAtMs + tx.ageMs);
  return inMs <= 0 ? "due" : `in ${span(inMs)}`;
}
