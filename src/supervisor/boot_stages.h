// SPDX-License-Identifier: Apache-2.0
// Where a machine is on its way up, how long it may stay there, and whether it still moves. Pure: time comes in.
//
// Two sources: the console (console_signs.h) for what happens before the agent says hello, port 442 for everything after it.
// The console is hearsay. It moves the early stages on, and a sign of the end ("Kernel panic") ends the start only where the
// guest does not go on after it: no further stage, and not a word on port 442.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "config/vm_plan.h"
#include "failures/failure.h"
#include "supervisor/console_signs.h"
#include "wire/hello.h"

namespace pinhole::supervisor {

/// In this order. A direct boot begins with the kernel, and has no cloud-init; without folders there is no workspace.
enum class BootStage : std::uint8_t {
  firmware,
  boot_loader,
  kernel,
  init,
  agent,
  cloud_init,
  workspace,
  door,
  up,
};

/// What a stage is called, how long it may take, and what it means when it takes longer.
struct StageRule {
  BootStage stage;
  std::string_view name;
  std::chrono::seconds tcg, kvm;
  const failures::Failure* late;
  std::span<const std::string_view> causes;  // the likeliest first
};
const StageRule& rule_of(BootStage stage);
std::string_view stage_name(BootStage stage);

/// From the machine's start to "up", whatever the stages take.
std::chrono::seconds boot_limit(config::Accelerator accelerator);

class BootStages {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Milliseconds = std::chrono::milliseconds;

  struct Machine {
    bool direct = false;
    bool shares = false;
    config::Accelerator accelerator = config::Accelerator::tcg;
  };
  /// A stage that is over.
  struct Ended {
    BootStage stage;
    Milliseconds took;
  };
  /// Why the start is to be ended.
  enum class Verdict : std::uint8_t {
    going,
    fatal_sign,     // fatal(); the guest has been silent since
    agent_missing,  // a login prompt, or cloud-init's last word, and no agent
    restarts,       // it starts from the beginning again and again
    stage_late,
    boot_late,
  };

  BootStages(const Machine& machine, TimePoint now);

  // What happened. Each returns the stage that it ended.
  std::optional<Ended> saw(ConsoleSign sign, TimePoint now);
  std::optional<Ended> hello(TimePoint now);
  std::optional<Ended> reported(wire::StageName stage, TimePoint now);
  /// The guest spoke on port 442.
  void heard(TimePoint now);
  /// The machine begins anew. `reset`: QEMU says so; else it is only the guest's word, a hello of another boot (kexec, or
  /// whoever in the guest speaks on port 442), which starts no deadlines. While it is up: a reboot.
  void restarted(TimePoint now, bool reset = true);
  void came_up(TimePoint now);
  /// The machine did not run in this time, or nobody could see it run.
  void stood_still(TimePoint since, TimePoint until);

  /// Of a machine that has been up once only a sign of the end is the end: it may be slow, and it may be writing.
  [[nodiscard]] Verdict judge(TimePoint now) const;
  /// What the deadlines say of a reboot, which is worth a note.
  [[nodiscard]] Verdict overdue(TimePoint now) const;
  /// When judge() may say something else than now; while nothing happens.
  [[nodiscard]] TimePoint next_look(TimePoint now) const;

  [[nodiscard]] BootStage stage() const { return stage_; }
  [[nodiscard]] bool is_up() const { return stage_ == BootStage::up; }
  /// It was up, and begins anew.
  [[nodiscard]] bool is_rebooting() const { return was_up_ && !is_up(); }
  [[nodiscard]] bool has(BootStage stage) const;
  [[nodiscard]] std::optional<ConsoleSign> fatal() const { return fatal_; }
  [[nodiscard]] unsigned restarts() const { return restarts_; }
  [[nodiscard]] std::chrono::seconds limit() const;  // of the present stage
  [[nodiscard]] config::Accelerator accelerator() const { return machine_.accelerator; }

  /// A firmware that sets its variables up, a kernel that was replaced: more than this is a circle.
  static constexpr unsigned kMostRestarts = 4;

 private:
  std::optional<Ended> go_to(BootStage stage, TimePoint now);
  [[nodiscard]] Milliseconds scaled(Milliseconds tcg, Milliseconds kvm) const;
  [[nodiscard]] TimePoint fatal_at() const;
  [[nodiscard]] TimePoint agent_missing_at() const;
  /// By the deadlines alone.
  [[nodiscard]] Verdict timed(TimePoint now) const;
  [[nodiscard]] TimePoint next_deadline() const;
  [[nodiscard]] bool counts(ConsoleSign sign) const;

  Machine machine_;
  BootStage stage_;
  TimePoint begun_, entered_;
  std::optional<TimePoint> heard_;  // in this boot
  std::optional<ConsoleSign> fatal_;
  TimePoint fatal_seen_{};
  std::optional<TimePoint> login_, cloud_init_done_;
  unsigned restarts_ = 0;
  bool was_up_ = false;
  bool reset_ = false;  // since it was up last
};

}  // namespace pinhole::supervisor
