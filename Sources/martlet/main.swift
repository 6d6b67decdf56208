import Glibc
import MartletServer

// Flags, then one call.

let arguments = Array(CommandLine.arguments.dropFirst())
switch ServerCommand(arguments: arguments, environment: ProcessEnvironment.variables) {
case .print(let text):
  print(text)
case .fail(let text, let exitCode):
  printError(text)
  exit(exitCode)
case .serve(let loaded):
  exit(await ServerProcess.run(loaded))
}
