/**
 * One run of the program: `runCli(argv, io)` resolves with the exit code and touches nothing but `io`.
 */
import { Command, CommanderError } from "commander";
import { describeFailure, EXIT, EXIT_CODES_HELP } from "./failure.ts";
import { zonedTime } from "./format.ts";
import type { Io } from "./io.ts";
import { duration } from "./parse.ts";
import { type GlobalOptions, Session } from "./session.ts";
import { type Add, growTree } from "./tree.ts";
import { VERSION } from "./version.ts";

export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  let exitCode: number = EXIT.ok;
  const add: Add = (parent, usage, says, verb) => {
    const command = parent.command(usage).description(says);
    verb.options?.(command);
    command.addHelpText("after", examplesHelp(verb.examples));
    command.showHelpAfterError(`  See: ${pathOf(command)} --help`);
    command.action(async () => {
      const session = new Session(io, command.optsWithGlobals<GlobalOptions>());
      try {
        exitCode = (await verb.run(session, command.opts(), ...command.args)) ?? EXIT.ok;
      } finally {
        await session.close();
      }
    });
  };
  const program = rootCommand(io);
  growTree(program, add);
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has said what is wrong, or has shown the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badUsage;
    const failure = describeFailure(error, (atMs) =>
      zonedTime(atMs, io.clock.utcOffsetMinutes(atMs)),
    );
    io.stderr.write(failure.text);
    return failure.exitCode;
  }
}

function rootCommand(io: Io): Command {
  const command = new Command("escrow")
    .description(
      "EscrowMQ, a transactional message broker: a message stays in escrow until the sender's transaction is decided.",
    )
    .version(VERSION, "-V, --version", "print the version")
    .option("--url <url>", "the broker; else ESCROW_URL, else ws://127.0.0.1:7654")
    .option("--token-file <path>", "a file with the token; else ESCROW_TOKEN")
    .option("--operator <name>", "who asks, for the audit; else ESCROW_OPERATOR, else the OS user")
    .option("--wait <duration>", "how long to wait for the broker (10s)", duration)
    .option("--json", "print the answer as one JSON document")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .showHelpAfterError("  See: escrow --help")
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => io.columns,
      getErrHelpWidth: () => io.columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      outputError: (text, write) => write(text.replace(/^error: /, "escrow: BAD_USAGE: ")),
    });
  command.addHelpText(
    "after",
    `\n${EXIT_CODES_HELP}\n${examplesHelp(["escrow broker start --data ./data", "escrow topic create orders", "escrow tx list", "escrow tx show <id>"])}`,
  );
  return command;
}

const examplesHelp = (examples: readonly string[]): string =>
  `\n${examples.length === 1 ? "Example" : "Examples"}:\n${examples.map((line) => `  ${line}`).join("\n")}`;

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}
