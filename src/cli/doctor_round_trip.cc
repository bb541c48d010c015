// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_round_trip.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/images.h"
#include "cli/launch_vm.h"
#include "cli/verify.h"
#include "doctor/state.h"
#include "doctor/trial_folder.h"
#include "failures/host.h"
#include "image/store.h"
#include "leftovers/folders.h"
#include "preflight/authority.h"
#include "preflight/tools.h"
#include "supervisor/launch.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
using doctor::Diagnosis;
using std::chrono::steady_clock;

constexpr auto kPepStart = std::chrono::seconds(30);
constexpr auto kPepAnswer = std::chrono::seconds(15);
constexpr std::size_t kLongestAnswer = 64 << 10;

/// An image that is there and whole. None is built, and none is changed.
std::optional<preflight::BaseImage> image_at_hand(const config::Paths& paths) {
  const auto listed = image::list_images(paths.images);
  if (!listed) return std::nullopt;
  std::optional<preflight::BaseImage> best;
  for (const image::Listed& one : *listed) {
    if (!one.image || doctor::image_problem(one)) continue;
    preflight::BaseImage image = as_base(paths.images, *one.image);
    const bool better = !best || (image.direct && !best->direct) ||
                        (image.name == "base" && (image.direct || !best->direct));
    if (better) best = std::move(image);
  }
  return best;
}

Diagnosis failed(Error error) {
  Error told = failures::told(failures::kRoundTripFailed, {{"why", error.message}});
  told.details = std::move(error.details);
  if (!error.fix.empty()) told.details.push_back("there it says: " + error.fix);
  return doctor::problem(std::move(told));
}

Result<Diagnosis> through_vm(const config::Paths& paths, const std::string& name,
                             const preflight::BaseImage& image) {
  const auto started = steady_clock::now();
  preflight::PrepareOptions options{.name = name};
  options.image = image;
  options.markers = false;
  options.ephemeral = true;
  PINHOLE_TRY(const Vm vm, launch_vm(paths, options, {.quiet = true, .tied = true}));
  PINHOLE_TRY(const Verdict verdict, verify_vm(vm));
  const std::chrono::duration<double> took = steady_clock::now() - started;
  if (verdict.ok()) {
    return doctor::fine(
        fmt::format("a VM of image \"{}\" booted and passed all {} checks in {:.1f} s", image.name,
                    verdict.checks.size(), took.count()));
  }
  Error error{.message = fmt::format("{} of {} checks of a VM failed",
                                     std::ranges::count(verdict.checks, false, &Check::ok),
                                     verdict.checks.size())};
  for (const Check& check : verdict.checks)
    if (!check.ok) error.details.push_back(fmt::format("{}: {}", check.name, check.evidence));
  return fail(std::move(error));
}

/// What is written until `done` says that it is whole, or the writer ends.
Result<std::string> read_until(int fd, std::chrono::milliseconds limit, std::string_view end) {
  const auto deadline = steady_clock::now() + limit;
  std::string text;
  std::array<char, 4096> chunk;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
    if (left <= 0 || ::poll(&waited, 1, static_cast<int>(left)) == 0)
      return fail("the door does not answer");
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(n));
    if ((!end.empty() && text.contains(end)) || text.size() > kLongestAnswer) return text;
  }
}

Result<std::string> ask_door(const fs::path& socket, std::string_view host) {
  PINHOLE_TRY(const Fd door, sys::connect_unix(socket));
  const std::string request =
      fmt::format("GET http://{0}/doctor HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n", host);
  PINHOLE_TRY_VOID(sys::write_all(door.get(), request));
  return read_until(door.get(), kPepAnswer, "");
}

/// Why no VM is tried, and what to do about it.
struct Alone {
  std::string_view why, fix;
};

/// The PEP as a VM has it, confined alike, with folders of its own below `folder`.
Result<Diagnosis> through_pep_in(const fs::path& folder, const Alone& alone) {
  const config::Paths paths{.vms = folder / "s", .runtime = folder / "r"};
  const config::VmPaths vm = config::vm_paths(paths, "d");
  for (const fs::path& made : {vm.audit, vm.authority, vm.door, vm.names})
    PINHOLE_TRY_VOID(sys::make_private_dir(made));
  PINHOLE_TRY_VOID(supervisor::refresh_resolv_conf("/etc/resolv.conf", vm));
  PINHOLE_TRY_VOID(preflight::make_authority(vm.authority, "doctor"));
  PINHOLE_TRY(const fs::path program, config::inner_program("pinhole-pep"));
  PINHOLE_TRY(const Fd listener, sys::listen_unix(vm.door_socket));
  PINHOLE_TRY(auto control, sys::socket_pair());
  PINHOLE_TRY(const Fd log, sys::open_append(folder / "log"));
  auto command = supervisor::pep_command(
      program, {.name = "doctor"}, vm, sys::random_hex(16),
      {.control = control.second.get(), .listener = listener.get(), .log = log.get()});
  PINHOLE_TRY(command.isolation, sys::available_here(std::move(command.isolation)));
  PINHOLE_TRY(auto pep, sys::spawn(command));
  control.second.reset();
  PINHOLE_TRY(const std::string ready, read_until(control.first.get(), kPepStart, "\n"));
  if (!ready.contains("\"ready\"")) {
    constexpr std::uint64_t kLongestLog = 1 << 20;
    const auto said = sys::read_file(folder / "log", kLongestLog);
    return fail("the door does not start: {}",
                printable(split(trim(said ? *said : ""), '\n').back(), 300));
  }
  PINHOLE_TRY(const std::string allowed, ask_door(vm.door_socket, "canary.pinhole.internal"));
  PINHOLE_TRY(const std::string refused, ask_door(vm.door_socket, "denied.pinhole.internal"));
  pep.stop(std::chrono::seconds(2));
  if (!allowed.starts_with("HTTP/1.1 200 ") || !allowed.ends_with("pinhole canary\n"))
    return fail("what is allowed was answered by \"{}\"", printable(split(allowed, '\r')[0], 200));
  if (!refused.starts_with("HTTP/1.1 403 ") || !refused.contains("denied_by_policy"))
    return fail("what is not allowed was answered by \"{}\"",
                printable(split(refused, '\r')[0], 200));
  return doctor::weaker(
      failures::told(failures::kNoVmTried,
                     {{"why", std::string(alone.why)}, {"command", std::string(alone.fix)}}));
}

Result<Diagnosis> through_pep(const config::Paths& paths, const Alone& alone) {
  PINHOLE_TRY_VOID(config::prepare_runtime(paths));
  PINHOLE_TRY(const auto folder, doctor::TrialFolder::make(paths.runtime));
  return through_pep_in(folder.path(), alone);
}

}  // namespace

Diagnosis round_trip(const config::Paths& paths, const std::string& name) {
  if (const auto user = preflight::check_not_root(); !user)
    return doctor::problem(failures::told(failures::kRunningAsRoot));
  Alone alone;
  const auto image = image_at_hand(paths);
  if (!image) alone = {"there is no image for a VM yet", "pinhole image build base"};
  if (!preflight::find_qemu() || !sys::find_program("qemu-img"))
    alone = {"no VM runs without QEMU", "do what the rows \"QEMU\" and \"qemu-img\" say"};
  auto found = alone.why.empty() ? through_vm(paths, name, *image) : through_pep(paths, alone);
  return found ? *std::move(found) : failed(std::move(found).error());
}

void end_round_trip(const config::Paths& paths, const std::string& name) {
  const Vm vm{.name = name, .paths = config::vm_paths(paths, name)};
  std::error_code error;
  if (fs::exists(vm.paths.dir, error)) (void)stop_vm(vm, true);
  (void)leftovers::remove_socket_folder(vm.paths.runtime);
  (void)sys::remove_tree(vm.paths.dir);
}

}  // namespace pinhole::cli
