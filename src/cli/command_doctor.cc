// SPDX-License-Identifier: Apache-2.0
// pinhole doctor.
#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/ranges.h>
#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/doctor_round_trip.h"
#include "cli/ephemeral_vm.h"
#include "cli/interrupts.h"
#include "cli/terminal.h"
#include "cli/verify.h"
#include "doctor/examine.h"
#include "doctor/row.h"
#include "failures/host.h"
#include "leftovers/find.h"
#include "supervisor/boot_stages.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using doctor::Diagnosis;
using doctor::Row;
using doctor::RowReport;
using doctor::Severity;

constexpr std::size_t kShownText = 1000;
constexpr std::string_view kRoundTrip = "round trip", kLeftovers = "leftovers";
/// Of its own: a trial of KVM, the files of the VM, its end.
constexpr auto kAroundTheVm = std::chrono::seconds(120);

struct DoctorWords {
  bool as_json = false, fix = false, quick = false;
  std::vector<std::string> only;
  // What a row's own process is told.
  std::string row, vm;
};

struct Examined {
  std::vector<Diagnosis> found;
  std::vector<std::string> fixed;
  [[nodiscard]] auto count(Severity severity) const {
    return std::ranges::count(found, severity, &Diagnosis::severity);
  }
};

std::string shown(Severity severity) {
  switch (severity) {
    case Severity::ok:
      return green("ok     ");
    case Severity::weaker:
      return dim("weaker ");
    case Severity::problem:
      return red("PROBLEM");
  }
  return "";
}

/// As `pinhole gc` does it: what the guest of a killed run has left is looked at before it goes.
std::vector<std::string> remove_ephemeral_vms(const config::Paths& paths) {
  std::vector<std::string> done;
  const auto found = leftovers::find(paths, {.sizes = false});
  for (const auto& one : found.value_or(std::vector<leftovers::Leftover>())) {
    if (one.kind != leftovers::Kind::ephemeral_vm) continue;
    const auto removed = remove_dead_ephemeral_vm(paths, one.name);
    if (!removed) done.push_back(removed.error().message);
    if (removed && *removed) done.push_back("removed: " + one.text);
  }
  return done;
}

/// A row's own process: everything that may hang or crash happens here.
Result<int> one_row(const DoctorWords& words) {
  const auto facts = doctor::gather_facts();
  RowReport report;
  if (!facts) {  // one row says it, for all
    if (words.row == "user") {
      report.found = {doctor::problem(
          failures::told(failures::kUserUnknown, {{"uid", std::to_string(::getuid())}}))};
      report.found.front().name = words.row;
    }
  } else if (words.row == kRoundTrip) {
    report.found = {round_trip(facts->paths, words.vm)};
    report.found.front().name = words.row;
  } else {
    const auto rows = doctor::all_rows();
    const auto row = std::ranges::find(rows, words.row, &Row::name);
    if (row == rows.end()) return fail("there is no row \"{}\"", printable(words.row, 60));
    std::vector<std::string> removed;
    if (words.fix && row->name == kLeftovers) removed = remove_ephemeral_vms(facts->paths);
    report = doctor::run_row(*row, *facts, words.fix);
    report.fixed.insert(report.fixed.begin(), removed.begin(), removed.end());
  }
  print_json(doctor::print_report(report));
  return 0;
}

/// Those that were asked for, or all; an error names the others.
Result<std::vector<Row>> chosen_rows(const std::vector<std::string>& only) {
  std::vector<Row> rows = doctor::all_rows();
  std::vector<std::string_view> names{kRoundTrip};
  for (const Row& row : rows) names.push_back(row.name);
  for (const std::string& name : only) {
    if (std::ranges::find(names, name) != names.end()) continue;
    return fail(Error{.message = fmt::format("doctor has no row \"{}\"", printable(name, 60)),
                      .fix = fmt::format("take one of: {}", fmt::join(names, ", ")),
                      .exit_status = kUsageStatus});
  }
  if (!only.empty())
    std::erase_if(rows,
                  [&](const Row& row) { return std::ranges::find(only, row.name) == only.end(); });
  return rows;
}

bool wants_round_trip(const DoctorWords& words) {
  if (words.quick || ::getuid() == 0) return false;
  return words.only.empty() || std::ranges::find(words.only, kRoundTrip) != words.only.end();
}

void take(Examined& into, std::vector<RowReport> reports) {
  for (RowReport& report : reports) {
    std::ranges::move(report.found, std::back_inserter(into.found));
    std::ranges::move(report.fixed, std::back_inserter(into.fixed));
  }
}

/// The rows that found something they can mend, once more: they mend it and look again.
void mend(const std::vector<Row>& rows, doctor::ExamineOptions options,
          std::vector<RowReport>& reports) {
  std::vector<Row> again;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].fix == nullptr || std::ranges::none_of(reports[i].found, &Diagnosis::fixable))
      continue;
    again.push_back(rows[i]);
    places.push_back(i);
  }
  options.fix = true;
  auto mended = doctor::examine(again, options);
  for (std::size_t i = 0; i < places.size(); ++i) reports[places[i]] = std::move(mended[i]);
}

bool was_interrupted(const Interrupts& interrupts) {
  pollfd waited{.fd = interrupts.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&waited, 1, 0) == 1;
}

/// A boot that is late ends by itself, and says why; it is never this that cuts it off.
std::chrono::seconds round_trip_deadline() {
  return std::max(supervisor::boot_limit(config::Accelerator::tcg),
                  supervisor::boot_limit(config::Accelerator::kvm)) +
         kLongestProbe + kAroundTheVm;
}

Diagnosis late_round_trip(const std::string& name) {
  Error error = failures::told(failures::kRoundTripLate,
                               {{"seconds", std::to_string(round_trip_deadline().count())}});
  constexpr std::uint64_t kLongestLog = 8 << 20;
  const auto paths = config::user_paths();
  const auto said = paths ? sys::read_file(config::vm_paths(*paths, name).status_log, kLongestLog)
                          : std::unexpected(paths.error());
  if (const std::string_view last = trim(said ? *said : ""); !last.empty())
    error.details.push_back("the VM said last: " + printable(split(last, '\n').back(), kShownText));
  Diagnosis out = doctor::problem(std::move(error));
  out.name = kRoundTrip;
  return out;
}

RowReport try_round_trip(doctor::ExamineOptions options, Progress& progress) {
  const std::string name = "doctor-" + sys::random_hex(3);
  options.arguments = {"doctor", "--vm", name, "--row"};
  options.on_wait = [&](std::string_view) {
    progress.show("round trip: a throw-away VM, allowed and refused through its door");
  };
  auto reports = doctor::examine(
      {{.name = kRoundTrip, .run = nullptr, .deadline = round_trip_deadline()}}, options);
  for (Diagnosis& found : reports.front().found)
    if (found.code == failures::kRowHangs.code) found = late_round_trip(name);
  if (const auto paths = config::user_paths()) end_round_trip(*paths, name);
  return std::move(reports.front());
}

Result<Examined> examine_all(const DoctorWords& words) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (error) return fail("cannot find this program's own file: {}", error.message());
  const Interrupts interrupts;
  Progress progress;
  doctor::ExamineOptions options{
      .program = self, .arguments = {"doctor", "--row"}, .cancel_fd = interrupts.fd()};
  if (fancy(2))
    options.on_wait = [&](std::string_view row) {
      progress.show(fmt::format("looking at {}", row));
    };
  PINHOLE_TRY(const auto rows, chosen_rows(words.only));
  auto reports = doctor::examine(rows, options);
  if (words.fix && !was_interrupted(interrupts)) mend(rows, options, reports);
  if (wants_round_trip(words) && !was_interrupted(interrupts))
    reports.push_back(try_round_trip(options, progress));
  if (was_interrupted(interrupts))
    return fail(Error{.message = "interrupted; nothing of doctor's is left", .exit_status = 130});
  Examined all;
  take(all, std::move(reports));
  return all;
}

std::string verdict(const Examined& all, const DoctorWords& words) {
  const auto problems = all.count(Severity::problem), weaker = all.count(Severity::weaker);
  const auto rows = [](auto count) {
    return fmt::format("{} finding{}", count, count == 1 ? "" : "s");
  };
  if (problems > 0) {
    return fmt::format("{}: VMs do not run here, or not with everything; mend from the top",
                       fmt::format("{} problem{}", problems, problems == 1 ? "" : "s"));
  }
  const std::string_view tried = !words.only.empty() ? " (of what was looked at: --only)"
                                 : words.quick       ? " (no VM was tried: --quick)"
                                                     : "";
  if (std::ranges::find(all.found, failures::kNoVmTried.code, &Diagnosis::code) != all.found.end())
    return fmt::format("no problem is known, but no VM was tried: {}", rows(weaker));
  if (weaker == 0) return fmt::format("all is well: VMs run here{}", tried);
  return fmt::format("VMs run here, with less speed, room or confinement: {}{}", rows(weaker),
                     tried);
}

void print_table(const Examined& all, const DoctorWords& words) {
  for (const Diagnosis& row : all.found) {
    print_line(fmt::format("{} {:<16} {}", shown(row.severity), row.name,
                           printable(row.finding, kShownText)));
    for (const std::string& detail : row.details)
      print_line("          " + printable(detail, kShownText));
    if (!row.fix.empty()) print_line("          fix:  " + printable(row.fix, kShownText));
  }
  for (const std::string& what : all.fixed) print_line("fixed: " + printable(what, kShownText));
  const bool more = std::ranges::any_of(all.found, &Diagnosis::fixable);
  if (more && !words.fix) print_line("pinhole doctor --fix mends some of it");
  print_line(verdict(all, words));
}

void print_all_json(const Examined& all, const DoctorWords& words) {
  json::array checks, fixed;
  for (const Diagnosis& row : all.found) checks.emplace_back(to_json(row));
  for (const std::string& what : all.fixed) fixed.emplace_back(what);
  print_json(json::serialize(json::object{{"ok", all.count(Severity::problem) == 0},
                                          {"verdict", verdict(all, words)},
                                          {"checks", std::move(checks)},
                                          {"fixed", std::move(fixed)}}));
}

Result<int> run_doctor(const DoctorWords& words) {
  if (!words.row.empty()) return one_row(words);
  PINHOLE_TRY(const Examined all, examine_all(words));
  if (words.as_json) {
    print_all_json(all, words);
  } else {
    print_table(all, words);
  }
  return all.count(Severity::problem) == 0 ? 0 : 1;
}

}  // namespace

void add_doctor(Commands& commands) {
  CLI::App& command = commands.add(
      "doctor",
      "Say what this host has and lacks for running VMs, and prove it by a round trip through a "
      "real door",
      "  pinhole doctor\n  pinhole doctor --fix\n  pinhole doctor --quick --json");
  auto words = std::make_shared<DoctorWords>();
  command.add_flag("--json", words->as_json, "print JSON");
  command.add_flag("--fix", words->fix, "mend what can be mended without root, and say so");
  command.add_flag("--quick,--no-round-trip", words->quick, "start no VM: only look");
  repeatable(command.add_option("--only", words->only, "this row alone; may be given again"));
  command.add_option("--row", words->row)->group("");  // how it calls itself, for each row
  command.add_option("--vm", words->vm)->group("");
  commands.on(command, [words] { return run_doctor(*words); });
}

}  // namespace pinhole::cli
