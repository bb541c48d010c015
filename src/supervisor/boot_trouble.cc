// SPDX-License-Identifier: Apache-2.0
#include "supervisor/boot_trouble.h"

#include <utility>

#include "base/check.h"
#include "base/printable.h"
#include "failures/boot.h"

namespace pinhole::supervisor {
namespace {

constexpr std::size_t kShownLine = 200;

std::string shown(const ConsoleSigns& signs, ConsoleSign sign) {
  return printable(signs.line(sign), kShownLine);
}

/// What the console names, the nearest to the root of the trouble first. Whoever can write to the console can forge it: it
/// is told as a likely cause, in the guest's words, and never as the failure.
struct Cause {
  ConsoleSign sign;
  const failures::Failure* failure;  // where more is told; nullptr: nowhere
  std::string_view words;
};
constexpr Cause kCauses[] = {
    {ConsoleSign::root_missing, &failures::kRootMissing, "the root file system was not found"},
    {ConsoleSign::disk_error, &failures::kGuestDiskErrors,
     "the disk or its file system is damaged"},
    {ConsoleSign::fsck_failed, &failures::kFsckFailed, "the file system could not be repaired"},
    {ConsoleSign::disk_full, &failures::kGuestDiskFull, "the guest's disk is full"},
    {ConsoleSign::out_of_memory, &failures::kOutOfMemory, "the guest ran out of memory"},
    {ConsoleSign::boot_file_missing, nullptr, "the firmware did not find a boot file"},
    {ConsoleSign::boot_file_failed, nullptr, "the boot file failed"},
    {ConsoleSign::user_data_refused, nullptr, "cloud-init refused the user-data"},
    {ConsoleSign::unit_failed, nullptr, "a unit failed"},
};

/// Causes, the console's own first, then its last lines.
Error with_evidence(Error error, const BootEvidence& evidence, bool with_usual_causes) {
  std::vector<std::string> causes;
  for (const Cause& cause : kCauses) {
    if (!evidence.signs.seen(cause.sign)) continue;
    const std::string more =
        cause.failure == nullptr ? "" : fmt::format(" (pinhole explain {})", cause.failure->code);
    causes.push_back(
        fmt::format("{}: \"{}\"{}", cause.words, shown(evidence.signs, cause.sign), more));
  }
  if (with_usual_causes) {
    for (const std::string_view cause : rule_of(evidence.stages.stage()).causes)
      causes.emplace_back(cause);
  }
  if (!causes.empty()) error.details.emplace_back("likely, in this order:");
  for (std::size_t i = 0; i < causes.size(); ++i)
    error.details.push_back(fmt::format("  {}. {}", i + 1, causes[i]));
  error.details.emplace_back(evidence.tail.empty() ? "the console is silent"
                                                   : "the console's last lines:");
  for (const std::string& line : evidence.tail) error.details.push_back("  " + line);
  return error;
}

/// Nothing was found to boot; or what was found came back, and the firmware had nothing better to do than this.
Error firmware_error(ConsoleSign fatal, const BootEvidence& evidence) {
  const ConsoleSigns& signs = evidence.signs;
  const failures::Named vm{"vm", evidence.vm};
  if (signs.seen(ConsoleSign::boot_file_missing))
    return told(failures::kNoBootableDevice,
                {vm, {"line", shown(signs, ConsoleSign::boot_file_missing)}});
  for (const ConsoleSign sign : {ConsoleSign::boot_file_failed, ConsoleSign::boot_loader}) {
    if (signs.seen(sign)) return told(failures::kBootFileEnded, {vm, {"line", shown(signs, sign)}});
  }
  if (fatal == ConsoleSign::efi_shell) return told(failures::kEfiShell, {vm});
  return told(failures::kNoBootableDevice, {vm, {"line", shown(signs, fatal)}});
}

Error fatal_error(ConsoleSign fatal, const BootEvidence& evidence) {
  const ConsoleSigns& signs = evidence.signs;
  const failures::Named vm{"vm", evidence.vm};
  if (fatal == ConsoleSign::kernel_panic) return panic_error(evidence.vm, signs);
  if (fatal == ConsoleSign::grub_prompt) {
    const bool said = signs.seen(ConsoleSign::grub_error);
    return told(failures::kGrubPrompt,
                {vm, {"line", shown(signs, said ? ConsoleSign::grub_error : fatal)}});
  }
  if (fatal == ConsoleSign::initramfs_shell) {
    const bool said = signs.seen(ConsoleSign::root_missing);
    return told(failures::kInitramfsShell,
                {vm, {"line", shown(signs, said ? ConsoleSign::root_missing : fatal)}});
  }
  if (fatal == ConsoleSign::emergency_shell)
    return told(failures::kEmergencyShell, {vm, {"line", shown(signs, fatal)}});
  return firmware_error(fatal, evidence);
}

std::string seconds_text(std::chrono::seconds time) { return fmt::format("{}", time.count()); }

Error late_error(BootStages::Verdict verdict, const BootEvidence& evidence) {
  const BootStages& stages = evidence.stages;
  const failures::Named vm{"vm", evidence.vm};
  const failures::Named stage{"stage", std::string(stage_name(stages.stage()))};
  const bool whole = verdict == BootStages::Verdict::boot_late;
  const auto limit = whole ? boot_limit(stages.accelerator()) : stages.limit();
  const failures::Named seconds{"seconds", seconds_text(limit)};
  if (whole) return told(failures::kBootLate, {vm, stage, seconds});
  if (evidence.silent) return told(failures::kConsoleSilent, {vm, stage, seconds});
  return told(*rule_of(stages.stage()).late, {vm, stage, seconds});
}

}  // namespace

Error panic_error(const std::string& vm, const ConsoleSigns& signs) {
  const std::string reason =
      printable(panic_reason(signs.line(ConsoleSign::kernel_panic)), kShownLine);
  const failures::Failure* failure = &failures::kPanic;
  if (reason.contains("Unable to mount root fs")) failure = &failures::kPanicNoRoot;
  if (reason.contains("kill init") || reason.contains("No working init") ||
      reason.contains("Requested init "))
    failure = &failures::kPanicInit;
  return told(*failure, {{"vm", vm}, {"reason", reason}});
}

Error boot_error(BootStages::Verdict verdict, const BootEvidence& evidence) {
  using Verdict = BootStages::Verdict;
  const BootStages& stages = evidence.stages;
  const failures::Named vm{"vm", evidence.vm};
  switch (verdict) {
    case Verdict::fatal_sign:
      return with_evidence(fatal_error(*stages.fatal(), evidence), evidence, false);
    case Verdict::agent_missing: {
      const bool done = evidence.signs.seen(ConsoleSign::cloud_init_done);
      const std::string line =
          shown(evidence.signs, done ? ConsoleSign::cloud_init_done : ConsoleSign::login);
      return with_evidence(told(failures::kAgentMissing, {vm, {"line", line}}), evidence, false);
    }
    case Verdict::restarts:
      return with_evidence(
          told(failures::kRestartedItself, {vm, {"times", fmt::format("{}", stages.restarts())}}),
          evidence, false);
    case Verdict::stage_late:
    case Verdict::boot_late:
      return with_evidence(late_error(verdict, evidence), evidence, true);
    case Verdict::going:
      break;
  }
  PINHOLE_CHECK(verdict != Verdict::going);
  return {};
}

Error early_end_error(const BootEvidence& evidence) {
  if (evidence.signs.seen(ConsoleSign::kernel_panic))
    return with_evidence(panic_error(evidence.vm, evidence.signs), evidence, false);
  return with_evidence(told(failures::kSwitchedItselfOff, {{"vm", evidence.vm}}), evidence, false);
}

Error stage_error(BootStage stage, const std::string& detail, const BootEvidence& evidence) {
  // src/agent/workspace.cc; the guest's word, which is good enough for an advice that harms nothing.
  const bool closed = detail.contains("cannot create a file in ") &&
                      (detail.contains("Permission denied") || detail.contains("Read-only"));
  if (stage == BootStage::workspace && closed && !evidence.workspace.empty())
    return told(failures::kWorkspaceNotWritable,
                {{"vm", evidence.vm},
                 {"folder", evidence.workspace},
                 {"detail", printable(detail, wire::kDetailBytes)}});
  return told(failures::kStageFailed, {{"vm", evidence.vm},
                                       {"stage", std::string(stage_name(stage))},
                                       {"detail", printable(detail, wire::kDetailBytes)}});
}

std::vector<Error> cloud_init_notes(const std::string& vm, const wire::Stage& stage) {
  std::string detail = printable(stage.detail, wire::kDetailBytes);
  std::string units;
  if (const std::size_t at = detail.find(wire::kFailedUnits); at != std::string::npos) {
    units = detail.substr(at + wire::kFailedUnits.size());
    detail.resize(at);
  }
  std::vector<Error> notes;
  if (!stage.ok || detail.contains(wire::kSchemaErrors)) {
    if (detail.starts_with("cloud-init: ")) detail.erase(0, std::string("cloud-init: ").size());
    notes.push_back(told(failures::kCloudInitErrors, {{"vm", vm}, {"detail", detail}}));
  }
  if (!units.empty()) {
    // The fix is pasted into a shell, and the guest chose the name.
    constexpr std::string_view kPlain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@:.-";
    std::string first = units.substr(0, units.find(','));
    if (first.find_first_not_of(kPlain) != std::string::npos) first = "UNIT";
    notes.push_back(
        told(failures::kGuestUnitsFailed, {{"vm", vm}, {"units", units}, {"unit", first}}));
  }
  return notes;
}

}  // namespace pinhole::supervisor
