import GRPCProxy
import Gateway
import Glibc
import MartletServer

// Flags, then one call.

let arguments = Array(CommandLine.arguments.dropFirst())
switch arguments.first {
case "gateway":
  switch GatewayCommand(arguments: Array(arguments.dropFirst())) {
  case .print(let text): print(text)
  case .fail(let text):
    printError(text)
    exit(1)
  case .serve(let plan):
    exit(await GatewayProcess.run(plan))
  }
case "grpc-proxy":
  switch ProxyCommand(arguments: Array(arguments.dropFirst())) {
  case .print(let text): print(text)
  case .fail(let text):
    printError(text)
    exit(1)
  case .serve(let plan):
    exit(await ProxyProcess.run(plan))
  }
default:
  switch ServerCommand(arguments: arguments, environment: ProcessEnvironment.variables) {
  case .print(let text):
    print(text)
  case .fail(let text, let exitCode):
    printError(text)
    exit(exitCode)
  case .serve(let loaded):
    exit(await ServerProcess.run(loaded))
  }
}
