// SPDX-License-Identifier: Apache-2.0
#include "preflight/prepare.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include <boost/json.hpp>

#include "artifact/disk.h"
#include "artifact/firmware.h"
#include "artifact/initrd.h"
#include "artifact/kernel.h"
#include "base/printable.h"
#include "base/shell_word.h"
#include "base/strings.h"
#include "config/boot_record.h"
#include "image/guest_authority.h"
#include "image/import_layout.h"
#include "image/seed.h"
#include "image/user_data.h"
#include "preflight/guard.h"
#include "preflight/guest_folders.h"
#include "preflight/kvm_probe.h"
#include "preflight/project_path.h"
#include "preflight/share_guard.h"
#include "preflight/shares.h"
#include "preflight/tools.h"
#include "qemu/firmware.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSmallestFreeSpace = std::uint64_t{1} << 30;

/// Everything that prepare_vm() learns before it writes.
struct Draft {
  config::VmPlan plan;
  config::VmPaths paths;
  std::string user_data;
  std::vector<std::string> notes;
  std::vector<Fd> cache_locks = {};
};

std::string json_text(std::string_view text) {
  return boost::json::serialize(boost::json::value(text));
}

/// The user's own name and uid, so that files made in the workspace belong to him on both sides.
std::string default_user_data(const sys::User& user) {
  return fmt::format(
      "#cloud-config\n"
      "users:\n"
      "  - name: {}\n"
      "    uid: {}\n"
      "    shell: /bin/bash\n"
      "    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n"
      "    lock_passwd: true\n",
      json_text(guest_user_name(user)), user.uid);
}

Error with_default_fix(Error error, std::string fix) {
  return error.fix.empty() ? std::move(error).with_fix(std::move(fix)) : std::move(error);
}

/// What guests write, this one's workspace and project among it.
GuestFolders guest_folders(const config::Paths& paths, const PrepareOptions& options) {
  std::vector<fs::path> more;
  if (options.request.workspace) more.push_back(options.folder / *options.request.workspace);
  for (const config::ShareWish& share : options.request.shares) more.emplace_back(share.host);
  const bool has_project = std::ranges::any_of(
      options.policies.files, [](const PolicyFile& file) { return file.layer == "project"; });
  if (has_project) more.push_back(options.folder);
  return GuestFolders::of(paths, more);
}

Result<void> read_user_data(const PrepareOptions& options, const GuestFolders& guests,
                            const sys::User& user, Draft& draft) {
  if (!options.request.user_data) {
    draft.user_data = default_user_data(user);
    return {};
  }
  const std::string& name = *options.request.user_data;
  const fs::path file = options.folder / name;
  auto text = options.request.user_data_from_project
                  ? read_in_project(options.folder, name, "user_data", image::kMaxUserData)
                  : guests.read(file, image::kMaxUserData);
  if (!text) {
    return fail(with_default_fix(std::move(text).error().context("the seed's user-data"),
                                 "name a file of cloud-init user-data: --user-data FILE"));
  }
  draft.user_data = *std::move(text);
  auto notes = image::check_user_data(draft.user_data, file.string());
  if (!notes) {
    return fail(with_default_fix(std::move(notes).error(),
                                 fmt::format("correct the file: {}", file.string())));
  }
  draft.notes.insert(draft.notes.end(), notes->begin(), notes->end());
  return {};
}

/// The user's own links resolved; a disk that is not there is artifact::check_raw_disk's to tell.
Result<fs::path> disk_path(const PrepareOptions& options, const GuestFolders& guests) {
  const std::string& name = *options.request.disk;
  if (options.request.disk_from_project) return path_in_project(options.folder, name, "disk");
  return guests.resolve(options.folder / name);
}

void add_notes(const std::vector<Error>& notes, Draft& draft) {
  for (const Error& note : notes)
    draft.notes.push_back(fmt::format("{}; {}", note.message, note.fix));
}

/// By what is in them, in a few milliseconds; that they are the files of the manifest, the store has said.
Result<void> check_image_files(const BaseImage& image) {
  const auto judged = [&](auto result) -> Result<void> {
    if (result) return {};
    return fail(
        std::move(result)
            .error()
            .context(fmt::format("image \"{}\"", image.name))
            .with_fix(image.imported
                          ? fmt::format("pinhole image rm {0}, and import it again: "
                                        "pinhole image import FILE --name {0}",
                                        image.name)
                          : fmt::format("make the image anew: pinhole image build --refresh {}",
                                        image.name)));
  };
  PINHOLE_TRY_VOID(judged(artifact::check_raw_disk(image.disk, artifact::DiskAccess::read_only)));
  // One that was imported boots what is on its disk: a kernel beside it, another image's perhaps, is for a probe alone.
  if (!image.imported) PINHOLE_TRY_VOID(judged(artifact::check_kernel(image.kernel)));
  if (!image.direct) return {};
  return judged(artifact::check_initrd(image.direct->modules, artifact::Depth::quick));
}

Result<void> choose_disk(const PrepareOptions& options, const GuestFolders& guests, Draft& draft) {
  config::VmPlan& plan = draft.plan;
  if (options.request.disk) {
    PINHOLE_TRY(const fs::path path, disk_path(options, guests));
    plan.disk = {.path = path, .format = config::DiskFormat::raw};
    plan.image_sha256 = {};
    std::error_code error;
    const bool has_entries = !options.reset_efi_vars && fs::exists(draft.paths.efi_vars, error);
    PINHOLE_TRY(const auto notes,
                artifact::check_raw_disk(
                    plan.disk.path, artifact::DiskAccess::read_write,
                    has_entries ? artifact::BootEntries::may_exist : artifact::BootEntries::none));
    add_notes(notes, draft);
    return {};
  }
  PINHOLE_TRY_VOID(check_image_files(*options.image));
  plan.image = options.image->name;
  plan.image_sha256 = options.image->sha256;
  plan.disk = {.path = draft.paths.disk, .format = config::DiskFormat::qcow2};
  plan.backing = config::Disk{.path = options.image->disk, .format = config::DiskFormat::raw};
  if (options.image->tools) plan.tools = config::Disk{.path = *options.image->tools};
  std::error_code error;
  if (!fs::exists(draft.paths.disk, error)) return {};
  // An overlay holds only what differs from its base: over another base it is rubbish.
  const auto text = sys::read_file(draft.paths.plan, config::kLargestConfigFile);
  const auto before = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
  if (before && before->image_sha256 == plan.image_sha256) return {};
  return fail(Error{
      .message =
          fmt::format("the disk of VM \"{}\" was made over another image than today's \"{}\"",
                      plan.name, plan.image),
      .fix = fmt::format("give the VM up and start it anew: pinhole rm {0}   (its disk is lost)",
                         plan.name)});
}

std::string host_name(std::string_view name) {
  std::string out(name);  // '_' is fine for a VM, not for a host name (RFC 1123)
  std::ranges::replace(out, '_', '-');
  while (out.ends_with('-') || out.ends_with('.')) out.pop_back();
  return out.empty() ? "pinhole" : out;
}

Result<void> choose_boot(const PrepareOptions& options, const sys::User& user, Draft& draft) {
  const auto image = options.image ? options.image->direct : std::nullopt;
  PINHOLE_TRY(const bool direct, boots_directly(options.request, draft.plan.image, image));
  if (!direct) return {};
  std::error_code error;
  const fs::path kernel = fs::canonical(image->kernel, error);  // as QEMU will see it
  if (error) return fail("cannot open {}: {}", image->kernel.string(), error.message());
  draft.plan.direct =
      config::DirectBoot{.kernel = kernel,
                         .initrd = draft.paths.initrd,
                         .hostname = host_name(draft.plan.name),
                         .user = {.name = guest_user_name(user), .uid = user.uid, .gid = user.gid}};
  return {};
}

/// One to try KVM with.
bool has_probe_kernel(const PrepareOptions& options) {
  if (!options.image || options.image->kernel.empty()) return false;
  return !options.image->imported || artifact::check_kernel(options.image->kernel).has_value();
}

Result<void> choose_machine(const config::Paths& paths, const PrepareOptions& options,
                            Draft& draft) {
  config::VmPlan& plan = draft.plan;
  PINHOLE_TRY(plan.qemu, find_qemu());
  PINHOLE_TRY_VOID(find_qemu_img());
  if (!plan.direct) {
    PINHOLE_TRY(plan.firmware, qemu::find_firmware(qemu::descriptor_folders()));
    PINHOLE_TRY_VOID(artifact::check_firmware(plan.firmware.code, plan.firmware.vars_template));
  }
  plan.cpus = options.request.cpus.value_or(1);
  plan.memory_mib = options.request.memory_mib.value_or(1024);
  if (options.accelerator == AcceleratorWish::automatic && has_probe_kernel(options)) {
    const auto choice =
        choose_accelerator(plan.qemu, options.image->kernel, paths.state / "kvm-probe");
    plan.accelerator = choice.accelerator;
    plan.accelerator_reason = choice.reason;
  } else {
    plan.accelerator = options.accelerator == AcceleratorWish::kvm ? config::Accelerator::kvm
                                                                   : config::Accelerator::tcg;
    plan.accelerator_reason = options.accelerator == AcceleratorWish::automatic
                                  ? "no kernel at hand to try KVM with; using software emulation"
                                  : "chosen by --accel";
  }
  if (plan.direct) plan.direct->cmdline = direct_cmdline(plan.accelerator);
  return {};
}

Result<void> check_efi_vars(const PrepareOptions& options, const Draft& draft) {
  std::error_code error;
  const fs::path& store = draft.paths.efi_vars;
  if (draft.plan.direct || options.reset_efi_vars || !fs::exists(store, error)) return {};
  return artifact::check_variable_store(store, draft.plan.firmware.vars_template, draft.plan.name);
}

/// With a review, nothing that is the user's may be written by another way.
Result<void> check_reviewed(const PrepareOptions& options, const Draft& draft) {
  if (!options.make_review) return {};
  const config::Share* workspace = draft.plan.workspace();
  if (workspace == nullptr || workspace->read_only) {
    return fail(Error{.message = "--review, and no workspace that the guest writes to",
                      .fix = "leave --review away, or --ro and --no-workspace",
                      .exit_status = 2});
  }
  const auto other = std::ranges::find_if(draft.plan.shares, [](const config::Share& share) {
    return !share.is_workspace() && !share.read_only && !share.cache;
  });
  if (other == draft.plan.shares.end()) return {};
  return fail(
      Error{.message = fmt::format("--review is for the workspace, and the guest writes to {} too",
                                   printable(other->host.string())),
            .fix = fmt::format("share it read-only: -w {}:{}:ro", printable(other->host.string()),
                               other->guest),
            .exit_status = 2});
}

fs::path policies_of(const Draft& draft) { return draft.paths.dir / "policy"; }
fs::path new_policies(const Draft& draft) { return draft.paths.dir / "policy.new"; }

Result<Draft> make_draft(const config::Paths& paths, const PrepareOptions& options) {
  PINHOLE_TRY_VOID(check_not_root());
  PINHOLE_TRY(const sys::User user, sys::current_user());
  Draft draft;
  PINHOLE_TRY(draft.plan.name, config::valid_vm_name(options.name));
  draft.paths = config::vm_paths(paths, draft.plan.name);
  draft.plan.fetches = options.fetches;
  draft.plan.ephemeral = options.ephemeral;
  draft.plan.capture = options.capture;
  const GuestFolders guests = guest_folders(paths, options);
  PINHOLE_TRY_VOID(read_user_data(options, guests, user, draft));
  PINHOLE_TRY_VOID(choose_disk(options, guests, draft));
  PINHOLE_TRY(draft.plan.shares, choose_shares(paths, options, user, draft.notes));
  if (!draft.plan.shares.empty()) {
    PINHOLE_TRY(draft.plan.virtiofsd, find_virtiofsd());
  }
  draft.plan.workspace_markers = options.markers && draft.plan.workspace() != nullptr;
  draft.plan.guard = options.request.guard.value_or(config::GuardLevel::warn);
  PINHOLE_TRY_VOID(check_reviewed(options, draft));
  PINHOLE_TRY_VOID(choose_boot(options, user, draft));
  PINHOLE_TRY_VOID(choose_machine(paths, options, draft));
  PINHOLE_TRY_VOID(check_efi_vars(options, draft));
  PINHOLE_TRY(const std::uint64_t space, sys::free_space(paths.vms));
  if (space < kSmallestFreeSpace) {
    return fail(
        Error{.message = fmt::format("only {} are free for the disk of VM \"{}\" in {}",
                                     format_size(space), options.name, paths.vms.string()),
              .fix = "make room (1 GiB at least), or set XDG_STATE_HOME to a larger file system"});
  }
  if (draft.plan.direct) return draft;  // no cloud-init, which the rest is for
  draft.plan.instance_id = image::instance_id(
      draft.plan.image_sha256.empty() ? draft.plan.disk.path.string() : draft.plan.image_sha256,
      draft.user_data);
  return draft;
}

/// Beside those that the VM had, which replace_plan() takes away once nothing can fail any more.
Result<void> write_policies(const Policies& policies, Draft& draft) {
  PINHOLE_TRY_VOID(sys::remove_tree(new_policies(draft)));
  draft.plan.ca_files.assign(policies.ca_files.begin(), policies.ca_files.end());
  for (const policy::SecretSpec& secret : policies.policy.secrets())
    draft.plan.secrets.push_back({.name = secret.name, .from = secret.from});
  int number = 0;
  for (const PolicyFile& file : policies.files) {
    // A folder each, so that the file keeps the name that messages call it by.
    const fs::path name = fs::path(fmt::format("{}-{}", number++, file.layer)) / file.name;
    const fs::path copy = new_policies(draft) / name;
    PINHOLE_TRY_VOID(sys::make_private_dir(copy.parent_path()));
    PINHOLE_TRY_VOID(sys::write_file_atomic(copy, file.text));
    draft.plan.policy.push_back(
        {.layer = file.layer, .path = policies_of(draft) / name, .name = file.name});
  }
  return {};
}

/// What needs space is written first; then names change.
Result<void> replace_plan(const Draft& draft) {
  const fs::path new_plan = draft.paths.plan.string() + ".new";
  PINHOLE_TRY_VOID(sys::write_file_atomic(new_plan, config::to_json(draft.plan)));
  PINHOLE_TRY_VOID(sys::remove_tree(policies_of(draft)));
  std::error_code error;
  if (!draft.plan.policy.empty()) fs::rename(new_policies(draft), policies_of(draft), error);
  if (!error) fs::rename(new_plan, draft.paths.plan, error);
  if (error) return fail("cannot replace {}: {}", draft.paths.plan.string(), error.message());
  return {};
}

/// It sees the base, which it asks for its size alone, and the folder that it writes to.
Result<sys::Command> overlay_command(const fs::path& qemu_img, const fs::path& base,
                                     const fs::path& made) {
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = qemu_img, .access = sys::Visible::Access::execute});
  view.paths.push_back({.path = base});
  view.paths.push_back({.path = made.parent_path(), .access = sys::Visible::Access::write});
  sys::Command command{
      .program = qemu_img,
      .args = {"create", "-q", "-f", "qcow2", "-F", "raw", "-b", base.string(), made.string()},
      .environment = {{"PATH", "/usr/bin:/bin"}},
      .filter = sys::SpawnFilter::descriptors_only};
  PINHOLE_TRY(command.isolation, sys::available_here(sys::apart(std::move(view))));
  return command;
}

Result<void> make_overlay(const Draft& draft) {
  std::error_code error;
  if (!draft.plan.backing) return {};
  if (fs::exists(draft.paths.disk, error)) {
    return artifact::check_overlay(
        draft.paths.disk,
        fmt::format(
            "mend it: qemu-img check -f qcow2 -r all {}; or give the VM up and start it anew: "
            "pinhole rm {}   (its disk is lost)",
            shell_word(draft.paths.disk.string()), draft.plan.name));
  }
  PINHOLE_TRY(const auto folder, sys::TempDir::make(draft.paths.dir));
  const fs::path made = folder.path() / draft.paths.disk.filename();
  PINHOLE_TRY(const fs::path qemu_img, find_qemu_img());
  PINHOLE_TRY(auto command, overlay_command(qemu_img, draft.plan.backing->path, made));
  PINHOLE_TRY(const auto output, sys::run(std::move(command), {.time = std::chrono::seconds(60)}));
  if (!output.status.ok()) {
    return fail("cannot make the VM's disk: qemu-img {}: {}", output.status.text(),
                trim(output.err));
  }
  fs::rename(made, draft.paths.disk, error);
  if (error)
    return fail("cannot make the VM's disk {}: {}", draft.paths.disk.string(), error.message());
  return {};
}

/// It started by firmware before.
bool had_efi_vars(const Draft& draft) {
  const auto text = sys::read_file(draft.paths.plan, config::kLargestConfigFile);
  const auto before = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
  return before && !before->direct;
}

Result<void> write_efi_vars(const PrepareOptions& options, Draft& draft) {
  std::error_code error;
  if (!options.reset_efi_vars && fs::exists(draft.paths.efi_vars, error)) return {};
  if (!options.reset_efi_vars && had_efi_vars(draft)) {
    draft.notes.emplace_back(
        "its EFI variable store was missing, and is made anew from the firmware's template");
  }
  constexpr std::uint64_t kLargestStore = 64 << 20;
  PINHOLE_TRY(const std::string content,
              sys::read_file(draft.plan.firmware.vars_template, kLargestStore));
  return sys::write_file_atomic(draft.paths.efi_vars, content);
}

/// The instance id stays: what the guest does with these, it does at every boot.
Result<void> add_hooks(const PrepareOptions& options, Draft& draft) {
  std::vector<std::string> hooks;
  if (options.make_authority) {
    PINHOLE_TRY_VOID(sys::make_private_dir(draft.paths.authority));
    PINHOLE_TRY(const std::string certificate,
                options.make_authority(draft.paths.authority, draft.plan.name));
    hooks.push_back(image::authority_hook(certificate));
  }
  if (draft.plan.tools) hooks.push_back(image::tools_boothook());
  draft.user_data = image::with_hooks(draft.user_data, hooks);
  return {};
}

/// What a run left that nobody ended (the host went down, say) is told now: from here on it was there before.
Result<void> close_guards(const config::Paths& paths, Draft& draft) {
  for (const GuardPlace& place : guard_places(paths, draft.paths, draft.plan.name)) {
    PINHOLE_TRY(const auto earlier, close_guard(place.snapshot, place.quarantine));
    if (!earlier) continue;
    for (std::string& line : guard_lines(*earlier)) draft.notes.push_back(std::move(line));
  }
  return {};
}

/// `part`: of what a plan has room for.
Result<GuardScan> guard_share(const fs::path& snapshot, config::Share& share, std::size_t part,
                              Draft& draft) {
  PINHOLE_TRY(GuardScan scan, open_guard(share.host, draft.plan.guard, snapshot));
  share.guarded = read_only_names(scan, kMostMounts, part);
  const std::string folder =
      share.is_workspace() ? "the workspace" : printable(share.host.string());
  if (const GuardedName* linked = name_with_another(scan)) {
    draft.notes.push_back(fmt::format(
        "{} has another name (a hard link), by which the guest may be able to change it",
        printable(linked->path)));
  }
  const auto wanted = std::ranges::count_if(scan.names, &GuardedName::read_only);
  if (std::cmp_less(share.guarded.size(), wanted)) {
    draft.notes.push_back(fmt::format(
        "not all of {} is guarded, only its upper folders: it has too many guarded names", folder));
  }
  for (const std::string& why : shortfalls(scan))
    draft.notes.push_back(fmt::format("not all of {} is guarded: {}", folder, printable(why, 400)));
  return scan;
}

/// One that is read-only may have settings all the same that lead to one that is not.
Result<GuardScan> look_at_share(const config::Share& share, Draft& draft) {
  PINHOLE_TRY(GuardScan scan, scan_workspace(share.host));
  if (!scan.incomplete.empty()) {
    draft.notes.push_back(
        fmt::format("not all of {} was looked at, which may have settings that "
                    "lead to other shared folders: {}",
                    printable(share.host.string()), printable(scan.incomplete, 400)));
  }
  return scan;
}

Result<void> review_workspace(const PrepareOptions& options, Draft& draft) {
  if (!options.make_review) return {};
  const auto workspace = std::ranges::find_if(draft.plan.shares, &config::Share::is_workspace);
  PINHOLE_TRY(workspace->overlay, options.make_review(workspace->host, draft.plan.name));
  return {};
}

/// Those that the guest can write to and the host looks into.
Result<void> guard_shares(const config::Paths& paths, Draft& draft) {
  PINHOLE_TRY_VOID(close_guards(paths, draft));
  if (draft.plan.guard == config::GuardLevel::off) return {};
  const auto is_guarded = [](const config::Share& share) {
    // What goes to an overlay is looked at before anything of it is in the folder.
    return !share.read_only && !share.cache && share.overlay.empty();
  };
  const auto guarded = std::ranges::count_if(draft.plan.shares, is_guarded);
  if (guarded == 0) return {};
  for (const config::Share& share : draft.plan.shares) {
    if (is_guarded(share)) PINHOLE_TRY_VOID(check_not_guarded(share));
  }
  std::vector<ScannedShare> scanned;
  for (config::Share& share : draft.plan.shares) {
    if (share.cache) continue;
    PINHOLE_TRY(GuardScan scan,
                is_guarded(share)
                    ? guard_share(guard_snapshot(draft.paths, share.tag), share,
                                  kMostMountBytes / static_cast<std::size_t>(guarded), draft)
                    : look_at_share(share, draft));
    scanned.push_back({.share = &share,
                       .guarded = is_guarded(share),
                       .leads = std::move(scan.leads),
                       .more_leads = scan.more_leads});
  }
  PINHOLE_TRY(const HostFolders host, HostFolders::read());
  return check_leads(scanned, host);
}

/// What the machine starts from, beside its disk.
Result<void> write_boot_files(const PrepareOptions& options, Draft& draft) {
  if (draft.plan.direct) {
    PINHOLE_TRY(const fs::path agent, config::inner_program("pinhole-agent"));
    return write_initrd(options.image->direct->modules, agent, draft.paths.initrd);
  }
  PINHOLE_TRY_VOID(image::build_seed({.user_data = draft.user_data,
                                      .instance_id = draft.plan.instance_id,
                                      .hostname = host_name(draft.plan.name)},
                                     draft.paths.seed));
  return write_efi_vars(options, draft);
}

Result<void> write_all_files(const config::Paths& paths, const PrepareOptions& options,
                             Draft& draft) {
  PINHOLE_TRY(draft.cache_locks, make_caches(draft.plan.shares, options));
  PINHOLE_TRY_VOID(review_workspace(options, draft));
  PINHOLE_TRY_VOID(guard_shares(paths, draft));
  PINHOLE_TRY_VOID(write_policies(options.policies, draft));
  PINHOLE_TRY_VOID(add_hooks(options, draft));
  PINHOLE_TRY_VOID(write_boot_files(options, draft));
  PINHOLE_TRY_VOID(make_overlay(draft));
  return replace_plan(draft);
}

/// Nothing where the VM runs. Whoever looks at it (ls, status, doctor, gc) has its lock for a moment as well.
Result<std::optional<Fd>> lock_for_start(const config::VmPaths& vm) {
  constexpr std::chrono::milliseconds kMoment{1000};
  constexpr int kLookAgainMs = 20;
  const auto deadline = std::chrono::steady_clock::now() + kMoment;
  for (;;) {
    PINHOLE_TRY(auto lock, sys::try_lock(vm.lock));
    if (lock || std::chrono::steady_clock::now() > deadline) return lock;
    const auto running = sys::try_connect_unix(vm.control_socket);
    if (running.outcome != sys::ConnectOutcome::refused) return lock;
    ::poll(nullptr, 0, kLookAgainMs);
  }
}

}  // namespace

Result<Prepared> prepare_vm(const config::Paths& paths, const PrepareOptions& options) {
  PINHOLE_TRY(Draft draft, make_draft(paths, options));
  PINHOLE_TRY_VOID(config::prepare_runtime(paths));
  PINHOLE_TRY_VOID(sys::make_private_dir(draft.paths.audit));
  PINHOLE_TRY(auto lock, lock_for_start(draft.paths));
  if (!lock) {
    return fail(Error{.message = fmt::format("VM \"{}\" is already running", draft.plan.name),
                      .fix = fmt::format("pinhole status {0}, or stop it first: pinhole down {0}",
                                         draft.plan.name),
                      .code = "already_running"});
  }
  // Should we be killed before there is a supervisor: who comes next knows what this was.
  PINHOLE_TRY(const auto record, config::BootRecorder::begin(draft.paths.boot_record, "up", {}));
  std::error_code error;
  const bool is_new = !fs::exists(draft.paths.plan, error);
  if (auto written = write_all_files(paths, options, draft); !written) {
    (void)sys::remove_tree(is_new ? draft.paths.dir : new_policies(draft));
    record.remove();
    return fail(std::move(written).error().context(
        fmt::format("cannot prepare VM \"{}\"", draft.plan.name)));
  }
  return Prepared{.plan = std::move(draft.plan),
                  .paths = std::move(draft.paths),
                  .lock = *std::move(lock),
                  .cache_locks = std::move(draft.cache_locks),
                  .notes = std::move(draft.notes)};
}

}  // namespace pinhole::preflight
