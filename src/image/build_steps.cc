// SPDX-License-Identifier: Apache-2.0
#include "image/build_steps.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/strings.h"
#include "image/archive_sources.h"
#include "image/initrd.h"
#include "image/uki.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using Access = sys::Visible::Access;

constexpr std::uint64_t kMaxKernel = std::uint64_t{128} << 20;
constexpr std::uint64_t kMaxStub = std::uint64_t{4} << 20;
constexpr std::uint64_t kMaxStatus = std::uint64_t{64} << 20;
constexpr std::uint64_t kMaxRelease = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxAgent = std::uint64_t{64} << 20;

// Runs as the namespace's root: what is copied belongs to it, and /finish sees the image as /.
constexpr const char* kApplyScript = R"(set -eu
umask 022
root=$1 stage=$2
cp -r --no-preserve=ownership,timestamps -- "$stage/files/." "$root/"
install -D -m 0755 -- "$stage/agent" "$root/usr/lib/pinhole/pinhole-agent"
for finish in "$stage"/finish/*; do
  [ -e "$finish" ] || continue
  install -m 0755 -- "$finish" "$root/finish"
  chroot "$root" /finish
  rm -f -- "$root/finish"
done
)";

Result<void> make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return fail("cannot create {}: {}", path.string(), error.message());
  return {};
}

/// A file with exactly these bits, whatever the umask.
Result<void> write_staged(const fs::path& path, std::string_view content, fs::perms mode) {
  PINHOLE_TRY_VOID(sys::write_file_atomic(path, content));
  std::error_code error;
  fs::permissions(path, mode, error);
  if (error) return fail("cannot set the mode of {}: {}", path.string(), error.message());
  return {};
}

constexpr fs::perms kFolderMode = fs::perms::owner_all | fs::perms::group_read |
                                  fs::perms::group_exec | fs::perms::others_read |
                                  fs::perms::others_exec;
constexpr fs::perms kProgramMode = kFolderMode;
constexpr fs::perms kFileMode =
    fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read | fs::perms::others_read;

/// The folders of a baked file, which `cp -r` copies with their bits.
Result<void> make_baked_folders(const fs::path& root, const fs::path& relative) {
  fs::path folder = root;
  std::error_code error;
  for (const fs::path& part : relative.parent_path()) {
    folder /= part;
    PINHOLE_TRY_VOID(make_folder(folder));
    fs::permissions(folder, kFolderMode, error);
    if (error) return fail("cannot set the mode of {}: {}", folder.string(), error.message());
  }
  return {};
}

Result<std::string> archive_date(const fs::path& root) {
  std::vector<std::string> releases;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "var/lib/apt/lists", error)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with("Release")) continue;
    PINHOLE_TRY(std::string text, sys::read_file(entry.path(), kMaxRelease));
    releases.push_back(std::move(text));
  }
  std::string date = newest_release_date(releases);
  if (date.empty()) return fail("the archive's Release files say no date");
  return date;
}

// update-alternatives fails where the folder of a program's manual page is missing (Java, among others), and dpkg leaves
// out folders whose content is left out.
constexpr const char* kManualFoldersHook =
    R"(--essential-hook=for n in 1 2 3 4 5 6 7 8; do mkdir -p "$1/usr/share/man/man$n"; done)";
// The initrd is ours; update-initramfs would only cost its time.
constexpr const char* kNoInitramfsHook =
    R"(--essential-hook=mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no > "$1/etc/initramfs-tools/update-initramfs.conf")";

std::vector<std::string> mmdebstrap_args(const Staging& staging, const Recipe& recipe) {
  std::vector<std::string> args = {
      // "root" is the namespace's: mmdebstrap's own unshare mode has no place for the caller's id,
      // and could not enter a home folder with mode 0700.
      "--mode=root",
      "--variant=minbase",
      "--format=directory",
      "--verbose",
      "--skip=cleanup/apt/lists",  // their date goes into the manifest; the finish script clears up
      "--dpkgopt=path-exclude=/usr/share/doc/*",
      "--dpkgopt=path-include=/usr/share/doc/*/copyright",
      "--dpkgopt=path-exclude=/usr/share/man/*",
      "--dpkgopt=path-exclude=/usr/share/info/*",
      "--dpkgopt=path-exclude=/usr/share/locale/*",
      "--dpkgopt=force-unsafe-io",
      "--dpkgopt=force-confold",
      "--aptopt=APT::Install-Recommends \"false\"",
      "--aptopt=Acquire::Languages \"none\"",
      "--aptopt=Acquire::Retries \"3\"",
      kManualFoldersHook,
      kNoInitramfsHook,
      fmt::format("--include={}", fmt::join(recipe.packages, ",")),
      recipe.suite,
      staging.root().string()};
  for (std::string& source : host_sources(recipe.suite)) args.push_back(std::move(source));
  return args;
}

Result<void> create_sparse(const fs::path& path, std::uint64_t size) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0)
    return fail("cannot create {}: {}", path.string(), errno_text(errno));
  return {};
}

Result<void> write_uki(const Staging& staging, const DiskPlan& plan) {
  auto stub = sys::read_file(kEfiStub, kMaxStub);
  if (!stub) return fail(std::move(stub).error().with_fix("sudo apt-get install systemd-boot-efi"));
  PINHOLE_TRY(const std::string kernel, sys::read_file(staging.out() / "vmlinuz", kMaxKernel));
  PINHOLE_TRY(const std::string initrd, sys::read_file(staging.out() / "initrd", kMaxKernel));
  PINHOLE_TRY(const std::string os_release,
              sys::read_file(staging.root() / "usr/lib/os-release", 65536));
  PINHOLE_TRY(const std::string uki, make_uki({.stub = *stub,
                                               .os_release = os_release,
                                               .cmdline = plan.cmdline,
                                               .initrd = initrd,
                                               .kernel = kernel}));
  return sys::write_file_atomic(staging.folder / "uki.efi", uki);
}

/// The ESP, in place: mtools and mkfs.fat take an offset into the disk.
Result<void> fill_esp(const Staging& staging, const DiskPlan& plan, const StepContext& context) {
  const std::string disk = (staging.out() / "disk.raw").string();
  const std::string at = fmt::format("{}@@{}", disk, plan.layout.esp_offset);
  const std::string doing = "fill the EFI system partition";
  const fs::path uki = staging.folder / "uki.efi";
  const std::vector<sys::Visible> sees = {{.path = disk, .access = Access::write},
                                          {.path = uki},
                                          {.path = "/etc/mtools.conf", .optional = true}};
  PINHOLE_TRY_VOID(run_step({.doing = doing,
                             .program = "mkfs.fat",
                             .args = {"-F", "32", "-s", "1", "-n", "ESP", "--invariant", "--offset",
                                      std::to_string(plan.layout.esp_offset / kDiskSector), disk,
                                      std::to_string(plan.layout.esp_size / 1024)},
                             .sees = sees},
                            context));
  PINHOLE_TRY_VOID(run_step(
      {.doing = doing, .program = "mmd", .args = {"-i", at, "::/EFI", "::/EFI/BOOT"}, .sees = sees},
      context));
  return run_step({.doing = doing,
                   .program = "mcopy",
                   .args = {"-i", at, uki.string(), "::/EFI/BOOT/BOOTX64.EFI"},
                   .sees = sees},
                  context);
}

Result<void> fill_root(const Staging& staging, const DiskPlan& plan, const StepContext& context) {
  auto filled =
      run_step({.doing = "fill the root file system",
                .program = "mke2fs",
                .args = {"-q", "-F", "-t", "ext4", "-L", "pinhole-root", "-U",
                         plan.ids.root_filesystem, "-m", "0", "-E",
                         fmt::format("offset={},lazy_itable_init=0,hash_seed={},root_owner=0:0",
                                     plan.layout.root_offset, plan.ids.root_filesystem),
                         "-d", staging.root().string(), (staging.out() / "disk.raw").string(),
                         fmt::format("{}k", plan.layout.root_size / 1024)},
                .sees = {{.path = staging.root()},
                         {.path = staging.out() / "disk.raw", .access = Access::write},
                         {.path = "/etc/mke2fs.conf", .optional = true}},
                .as_mapped_root = true},
               context);
  if (!filled && filled.error().code.empty()) {
    return fail(std::move(filled).error().with_fix(
        "if the packages do not fit, raise disk_size in the recipe"));
  }
  return filled;
}

}  // namespace

Result<void> stage_content(const Staging& staging, const LoadedRecipe& recipe,
                           const fs::path& agent) {
  for (const fs::path& folder : {staging.files(), staging.temporary(), staging.out()})
    PINHOLE_TRY_VOID(make_folder(folder));
  std::error_code error;
  fs::permissions(staging.files(), kFolderMode, error);
  for (const BakedFile& file : recipe.files) {
    PINHOLE_TRY_VOID(make_baked_folders(staging.files(), file.path));
    PINHOLE_TRY_VOID(write_staged(staging.files() / file.path, file.content,
                                  file.executable ? kProgramMode : kFileMode));
  }
  PINHOLE_TRY_VOID(make_folder(staging.folder / "finish"));
  for (std::size_t i = 0; i < recipe.finish.size(); ++i) {
    PINHOLE_TRY_VOID(write_staged(staging.folder / "finish" / fmt::format("{:02}", i),
                                  recipe.finish[i], kProgramMode));
  }
  PINHOLE_TRY(const std::string program, sys::read_file(agent, kMaxAgent));
  return write_staged(staging.folder / "agent", program, kProgramMode);
}

Result<void> unpack_packages(const Staging& staging, const Recipe& recipe,
                             const StepContext& context, Provenance& provenance) {
  auto unpacked = run_step({.doing = "unpack the image's packages",
                            .program = "mmdebstrap",
                            .args = mmdebstrap_args(staging, recipe),
                            .unconfined = true,
                            .temporary = staging.temporary(),
                            .limit = std::chrono::minutes(30)},
                           context);
  if (!unpacked && unpacked.error().code.empty()) {
    return fail(std::move(unpacked).error().with_fix(
        "see whether this machine reaches its Debian mirror: sudo apt-get update"));
  }
  if (!unpacked) return unpacked;
  PINHOLE_TRY(provenance.archive_date, archive_date(staging.root()));
  PINHOLE_TRY(const std::string status,
              sys::read_file(staging.root() / "var/lib/dpkg/status", kMaxStatus));
  provenance.packages = installed_packages(status);
  provenance.suite = recipe.suite;
  return {};
}

Result<void> take_boot_files(const Staging& staging, const LoadedRecipe& recipe) {
  PINHOLE_TRY(const std::string release, kernel_release(staging.root()));
  PINHOLE_TRY(const std::string kernel,
              sys::read_file(staging.root() / "boot" / ("vmlinuz-" + release), kMaxKernel));
  PINHOLE_TRY_VOID(sys::write_file_atomic(staging.out() / "vmlinuz", kernel));
  PINHOLE_TRY(const std::string initrd,
              make_initrd(staging.root(), recipe.init, recipe.recipe.initrd_modules));
  PINHOLE_TRY_VOID(sys::write_file_atomic(staging.out() / "initrd", initrd));
  if (recipe.recipe.direct_modules.empty()) return {};
  PINHOLE_TRY(const std::string direct,
              make_direct_archive(staging.root(), recipe.recipe.direct_modules));
  return sys::write_file_atomic(staging.out() / "direct.cpio", direct);
}

Result<void> apply_content(const Staging& staging, const StepContext& context) {
  return run_step(
      {.doing = "put the image's own files in",
       .program = "/bin/sh",
       .args = {"-c", kApplyScript, "sh", staging.root().string(), staging.folder.string()},
       .sees = {{.path = staging.root(), .access = Access::build},
                {.path = staging.files()},
                {.path = staging.folder / "agent"},
                {.path = staging.folder / "finish"},
                {.path = "/bin", .access = Access::execute},
                {.path = "/usr/bin", .access = Access::execute},
                {.path = "/usr/sbin", .access = Access::execute}},
       .as_mapped_root = true},
      context);
}

Result<void> make_disk(const Staging& staging, const DiskPlan& plan, const StepContext& context) {
  PINHOLE_TRY_VOID(create_sparse(staging.out() / "disk.raw", plan.layout.disk_size));
  PINHOLE_TRY_VOID(write_uki(staging, plan));
  PINHOLE_TRY_VOID(fill_esp(staging, plan, context));
  PINHOLE_TRY_VOID(fill_root(staging, plan, context));
  // Last: mke2fs and mkfs.fat each clear what stands before their file system.
  return run_step(
      {.doing = "write the partition table",
       .program = "sgdisk",
       .args = sgdisk_args(plan.layout, plan.ids, (staging.out() / "disk.raw").string()),
       .sees = {{.path = staging.out() / "disk.raw", .access = Access::write}}},
      context);
}

Result<FileRecord> record_file(const fs::path& path, const HashFile& hash) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info{};
  // Read-only from here on: an image is a base that overlays stand on.
  if (!file || ::fchmod(file.get(), 0400) != 0 || ::fsync(file.get()) != 0 ||
      ::fstat(file.get(), &info) != 0) {
    return fail("cannot finish {}: {}", path.string(), errno_text(errno));
  }
  PINHOLE_TRY(std::string sum, hash ? hash(path) : sys::sha256_file(path));
  return FileRecord{.sha256 = std::move(sum),
                    .size = static_cast<std::uint64_t>(info.st_size),
                    .mtime_ns = static_cast<std::uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
                                static_cast<std::uint64_t>(info.st_mtim.tv_nsec)};
}

}  // namespace pinhole::image
