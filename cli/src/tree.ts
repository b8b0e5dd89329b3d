/** The command tree, one line a command. */
import type { Command, OptionValues } from "commander";
import { brokerStart } from "./commands/broker.ts";
import { consume } from "./commands/consume.ts";
import { dlqList, dlqShow } from "./commands/dead-letter.ts";
import { groupDescribe, groupList, groupUpdate } from "./commands/group.ts";
import { groupDelete, groupReset } from "./commands/group-change.ts";
import { groupPause, groupResume, groupSkip } from "./commands/group-pause.ts";
import { messageFind, messageShow } from "./commands/message.ts";
import { messageRecall } from "./commands/message-recall.ts";
import { messageTrace } from "./commands/message-trace.ts";
import { producerList, producerSetEndpoint } from "./commands/producer.ts";
import { dlqPurge, dlqReplay } from "./commands/replay.ts";
import { request } from "./commands/request.ts";
import { send } from "./commands/send.ts";
import { doctor, stats } from "./commands/status.ts";
import {
  topicCreate,
  topicDelete,
  topicDescribe,
  topicList,
  topicUpdate,
} from "./commands/topic.ts";
import { txCheck, txCommit, txList, txResume, txRollback, txShow } from "./commands/transaction.ts";
import { verify } from "./commands/verify.ts";
import type { Verb } from "./verb.ts";

/** Hangs a verb below a command; run.ts says what running one means. */
export type Add = <Options extends OptionValues>(
  parent: Command,
  usage: string,
  says: string,
  verb: Verb<Options>,
) => void;

export function growTree(program: Command, add: Add): void {
  const noun = (name: string, says: string): Command =>
    program.command(name).description(says).showHelpAfterError(`  See: escrow ${name} --help`);

  const broker = noun("broker", "Run the broker");
  add(broker, "start", "Run a broker in this process", brokerStart);

  const topic = noun("topic", "Topics: ordered logs of visible messages");
  add(topic, "create <topic>", "Create a topic", topicCreate);
  add(topic, "list", "List topics", topicList);
  add(topic, "describe <topic>", "Show one topic", topicDescribe);
  add(topic, "update <topic>", "Change a topic's settings", topicUpdate);
  add(topic, "delete <topic>", "Delete a topic and its messages", topicDelete);

  const group = noun("group", "Consumer groups: independent readers with their own progress");
  add(group, "list", "List consumer groups", groupList);
  add(group, "describe <group>", "Show progress, policy and consumers", groupDescribe);
  add(group, "update <group>", "Change lease and retry policy", groupUpdate);
  add(group, "reset <group>", "Move a group's progress in a topic, or in all", groupReset);
  add(group, "pause <group>", "Deliver nothing to a group for now", groupPause);
  add(group, "resume <group>", "Deliver to a paused group again", groupResume);
  add(group, "skip <group>", "Settle messages for a group, unprocessed", groupSkip);
  add(group, "delete <group>", "Delete a group and its progress", groupDelete);

  const producer = noun("producer", "Producer groups: who answers for undecided transactions");
  add(producer, "list", "List producer groups", producerList);
  add(producer, "set-endpoint <group> [url]", "Set or remove an endpoint", producerSetEndpoint);

  const tx = noun("tx", "Transactions: see, check and decide what is undecided");
  add(tx, "list", "List undecided and parked transactions", txList);
  add(tx, "show <id>", "Inspect one transaction: its timeline", txShow);
  add(tx, "check <id>", "Ask the producer group for the verdict now", txCheck);
  add(tx, "commit <id>", "Decide by hand: commit", txCommit);
  add(tx, "rollback <id>", "Decide by hand: roll back", txRollback);
  add(tx, "resume <id>", "Have a parked transaction checked again", txResume);

  const message = noun("message", "Messages: find one, see it, and what became of it");
  add(message, "show <topic> <offset>", "Show one message with its body", messageShow);
  add(message, "find <topic>", "Find messages by id, key, tag or time", messageFind);
  add(message, "trace <topic> <offset>", "Tell what became of one message", messageTrace);
  add(message, "recall <topic> <id>", "Take back a message that waits", messageRecall);

  const dlq = noun("dlq", "Dead letters: what a group could not process");
  add(dlq, "list <group>", "List a group's dead letters", dlqList);
  add(dlq, "show <group> <offset>", "Show one dead letter with its body", dlqShow);
  add(dlq, "replay <group>", "Deliver dead letters again", dlqReplay);
  add(dlq, "purge <group>", "Remove dead letters for ever", dlqPurge);

  add(program, "send", "Send a message", send);
  add(program, "request", "Send a message and print the reply to it", request);
  add(program, "consume", "Print messages as they come, and ack them", consume);
  add(program, "stats", "Show the broker's numbers", stats);
  add(program, "verify <dir>", "Check a stopped broker's data directory", verify);
  add(program, "doctor", "Find out what is wrong", doctor);
}
