// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include "base/log.h"
#include "cli/terminal.h"
#include "sys/process.h"

namespace pinhole::cli {
namespace {

constexpr void (*kCommands[])(Commands&) = {
    add_demo,   add_run,     add_shell,  add_forward, add_cp,    add_up,    add_down,
    add_rm,     add_ls,      add_status, add_logs,    add_exec,  add_audit, add_verify,
    add_doctor, add_explain, add_image,  add_gc,      add_cache, add_seed,  add_trust,
    add_policy, add_review,  add_inner,  add_version,
};

int show_error(const Error& error) {
  print_error(error);
  return error.exit_status == 0 ? 1 : error.exit_status;
}

}  // namespace

CLI::App& Commands::add(std::string name, std::string help, std::string examples,
                        CLI::App* parent) {
  CLI::App& command =
      *(parent == nullptr ? &app_ : parent)->add_subcommand(std::move(name), std::move(help));
  if (!examples.empty()) command.footer("Examples:\n" + std::move(examples));
  return command;
}

void Commands::on(CLI::App& command, Action action) {
  actions_.emplace_back(&command, std::move(action));
}

Result<int> Commands::execute() const {
  for (const auto& [command, action] : actions_) {
    if (command->parsed()) return action();
  }
  return 0;
}

int run(int argc, char** argv) {
  sys::harden_self();
  set_log("pinhole", LogLevel::info);
  CLI::App app(
      "Runs untrusted code in a VM that has no network; one door leads out, and a policy decides "
      "at it.",
      "pinhole");
  app.require_subcommand(1);
  app.set_version_flag("--version", "pinhole " PINHOLE_VERSION);
  app.footer("Start here:  pinhole demo\nHelp on one command:  pinhole COMMAND --help");
  Commands commands(app);
  for (const auto add : kCommands) add(commands);
  try {
    app.parse(argc, argv);
    const auto status = commands.execute();
    return status ? *status : show_error(status.error());
  } catch (const CLI::ParseError& error) {
    // 0: help or version, already in the exception's words.
    return app.exit(error) == 0 ? 0 : kUsageStatus;
  } catch (const std::exception& error) {
    return show_error({.message = fmt::format("internal error: {}", error.what())});
  }
}

}  // namespace pinhole::cli
