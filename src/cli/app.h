// SPDX-License-Identifier: Apache-2.0
// The command line: a table of commands, one file each; main() under one handler of errors.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace pinhole::cli {

/// Exit statuses: 0 done, 1 it did not work, 2 the words were wrong.
inline constexpr int kUsageStatus = 2;

/// For an option that may be given again: one value each time. By itself CLI11 would take all words up
/// to the next option, and the `--` in front of a command with them.
inline CLI::Option* repeatable(CLI::Option* option) {
  return option->expected(1)->allow_extra_args(false)->multi_option_policy(
      CLI::MultiOptionPolicy::TakeAll);
}

/// What a command does once its words are parsed; returns the exit status.
using Action = std::function<Result<int>()>;

/// A command adds its subcommand with its flags and registers what to do.
class Commands {
 public:
  explicit Commands(CLI::App& app) : app_(app) {}

  /// A subcommand below `parent` (or the program itself) with its help; `examples` are shown under
  /// it.
  CLI::App& add(std::string name, std::string help, std::string examples,
                CLI::App* parent = nullptr);
  void on(CLI::App& command, Action action);
  /// The action of what was called; nothing when only help was asked for.
  [[nodiscard]] Result<int> execute() const;

 private:
  CLI::App& app_;
  std::vector<std::pair<CLI::App*, Action>> actions_;
};

int run(int argc, char** argv);

// One per file: command_<name>.cc.
void add_demo(Commands& commands);
void add_run(Commands& commands);
void add_shell(Commands& commands);
void add_forward(Commands& commands);
void add_cp(Commands& commands);
void add_up(Commands& commands);
void add_down(Commands& commands);
void add_ls(Commands& commands);
void add_status(Commands& commands);
void add_logs(Commands& commands);
void add_audit(Commands& commands);
void add_rm(Commands& commands);
void add_verify(Commands& commands);
void add_doctor(Commands& commands);
void add_explain(Commands& commands);
void add_exec(Commands& commands);
void add_image(Commands& commands);
void add_gc(Commands& commands);
void add_cache(Commands& commands);
void add_seed(Commands& commands);
void add_trust(Commands& commands);
void add_policy(Commands& commands);
void add_review(Commands& commands);
void add_inner(Commands& commands);  // pep, vsockd, supervise
void add_version(Commands& commands);

}  // namespace pinhole::cli
