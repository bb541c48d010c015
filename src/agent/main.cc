// SPDX-License-Identifier: Apache-2.0
// pinhole-agent: the guest's half of Pinhole, one static program.
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "agent/daemon.h"
#include "agent/fetch_command.h"
#include "agent/files_helper.h"
#include "agent/init.h"
#include "agent/settings.h"
#include "agent/workspace.h"
#include "base/log.h"
#include "sys/user.h"

namespace pinhole::agent {
namespace {

constexpr const char* kUsage = R"(usage: pinhole-agent [run] [options]    the guest's service
       pinhole-agent fetch [options] URL  a URL through the door (fetch --help)
       pinhole-agent version

Options of run, for driving it without a VM (ENDPOINT: vsock:CID:PORT or unix:/path):
  --hello ENDPOINT      the host's readiness port (vsock:2:442)
  --door ENDPOINT       the way out (vsock:2:440, or $PINHOLE_DOOR)
  --listen ENDPOINT     where the host's operations come in (vsock:4294967295:441)
  --proxy-port N        the proxy on 127.0.0.1 (3128); 0: none
  --run-dir DIR         markers (/run/pinhole)
  --workspace DIR       the shared folder (/workspace)
  --root DIR            in front of the system's own files
  --no-network-setup    leaves lo alone
  --no-clock            leaves the system's time and randomness alone
  --no-power-off        refuses the operation "shutdown"
)";

int complain(const Error& error) {
  std::fputs(format_error("pinhole-agent", error).c_str(), stderr);
  return error.exit_status;
}

int print(const char* text) {
  std::fputs(text, stdout);
  return 0;
}

bool asks_for_help(const std::vector<std::string>& args) {
  return !args.empty() && (args[0] == "--help" || args[0] == "-h" || args[0] == "help");
}

/// The door that $PINHOLE_DOOR names, or the usual one.
Result<Endpoint> usual_door() {
  if (const auto named = sys::env("PINHOLE_DOOR")) return parse_endpoint(*named);
  return Settings().door;
}

int fetch_main(const std::vector<std::string>& args) {
  if (asks_for_help(args)) return print(kFetchUsage);
  const auto door = usual_door();
  if (!door) return complain(door.error());
  auto command = parse_fetch(args, *door);
  if (!command) return complain(command.error());
  return run_fetch(std::move(*command));
}

int daemon_main(const std::vector<std::string>& args) {
  auto settings = parse_settings(args);
  if (!settings) return complain(settings.error());
  set_log("pinhole-agent", LogLevel::info);
  return run_daemon(std::move(*settings));
}

int agent_main(std::vector<std::string> args) {
  // A peer that goes away is an error value of the write, not the end of the agent.
  std::signal(SIGPIPE, SIG_IGN);
  const std::string command = args.empty() ? "run" : args.front();
  if (asks_for_help(args)) return print(kUsage);
  if (command == "version" || command == "--version") {
    return print("pinhole-agent " PINHOLE_VERSION "\n");
  }
  if (command.starts_with("workspace-")) return run_workspace_helper(args);
  if (command.starts_with("files-")) return run_files_helper(args);
  if (!command.starts_with("-") && !args.empty()) args.erase(args.begin());
  if (command == "fetch") return fetch_main(args);
  if (command == "run" || command.starts_with("-")) return daemon_main(args);
  return complain({.message = "unknown command \"" + command + "\"",
                   .fix = "pinhole-agent --help",
                   .exit_status = 2});
}

}  // namespace
}  // namespace pinhole::agent

int main(int argc, char** argv) {
  try {
    if (argc > 0 && pinhole::agent::is_init(argv[0])) pinhole::agent::run_init();
    return pinhole::agent::agent_main({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pinhole-agent: %s\n", error.what());
    return 1;
  }
}
