// SPDX-License-Identifier: Apache-2.0
#include "image/import.h"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "artifact/disk.h"
#include "base/clock.h"
#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "failures/artifacts.h"
#include "failures/import.h"
#include "failures/table.h"
#include "image/import_checksum.h"
#include "image/import_disk.h"
#include "image/import_guest.h"
#include "image/import_references.h"
#include "image/import_root.h"
#include "image/import_source.h"
#include "image/names.h"
#include "image/staging.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using artifact::DiskFormat;
using failures::told;

constexpr std::uint64_t kMaxAgent = std::uint64_t{64} << 20;

/// Where each stage begins on the bar.
constexpr double start_of(ImportStage stage) {
  switch (stage) {
    case ImportStage::cleaning:
      return 0;
    case ImportStage::checksum:
      return 0.01;
    case ImportStage::decompressing:
      return 0.15;
    case ImportStage::converting:
      return 0.45;
    case ImportStage::checking:
      return 0.7;
    case ImportStage::growing:
      return 0.72;
    case ImportStage::preparing:
      return 0.78;
    case ImportStage::hashing:
      return 0.85;
  }
  return 0;
}
constexpr double end_of(ImportStage stage) {
  return stage == ImportStage::hashing
             ? 1
             : start_of(static_cast<ImportStage>(std::to_underlying(stage) + 1));
}

/// Tells the caller how far it is.
class Reporter {
 public:
  explicit Reporter(const ImportOptions& options) : options_(options) {}

  void enter(ImportStage stage) {
    stage_ = stage;
    report(start_of(stage));
  }
  void within(double done) {
    const double start = start_of(stage_);
    report(start + (std::min(done, 1.0) * (end_of(stage_) - start)));
  }
  /// Of a pass over bytes in this stage.
  Pass pass() {
    return [this](double done) {
      within(done);
      pollfd given_up{.fd = options_.cancel_fd, .events = POLLIN, .revents = 0};
      return ::poll(&given_up, 1, 0) <= 0;
    };
  }
  [[nodiscard]] StepContext context() const { return {.cancel_fd = options_.cancel_fd}; }

 private:
  void report(double fraction) {
    fraction_ = std::max(fraction_, fraction);
    if (options_.progress) options_.progress({.stage = stage_, .fraction = fraction_});
  }

  const ImportOptions& options_;
  ImportStage stage_ = ImportStage::cleaning;
  double fraction_ = 0;
};

/// What the file's publisher says of it; nothing where nobody asked for it to be compared.
Result<std::optional<std::string>> expected_hash(const ImportOptions& options,
                                                 const std::string& shown) {
  if (options.sha256) {
    const auto hash = parse_sha256(*options.sha256);
    if (!hash)
      return fail(Error{.message = "--sha256 expects 64 hexadecimal digits", .exit_status = 2});
    return hash;
  }
  if (!options.sums) return std::nullopt;
  if (options.sums->empty())
    return fail(Error{.message = "--sums expects the name of a file", .exit_status = 2});
  PINHOLE_TRY(const std::string sums, sys::read_file(*options.sums, kMaxSums));
  const std::string name = options.file.filename().string();
  auto hash = find_sha256(sums, name);
  if (hash) return hash;
  return fail(told(
      failures::kImportNotInSums,
      {{"file", shown}, {"sums", printable(options.sums->string())}, {"name", printable(name)}}));
}

Result<std::string> check_hash(const ImportOptions& options, const ImportSource& source,
                               Reporter& reporter) {
  reporter.enter(ImportStage::checksum);
  PINHOLE_TRY(const auto expected, expected_hash(options, source.shown()));
  PINHOLE_TRY(std::string actual, source.sha256(reporter.pass()));
  if (!expected || *expected == actual) return actual;
  return fail(told(failures::kImportChecksumDiffers,
                   {{"file", source.shown()}, {"actual", actual}, {"expected", *expected}}));
}

Error no_disk(const std::string& shown, const artifact::DiskReport& report) {
  return told(failures::kImportNoDisk, {{"file", shown}, {"what", report.what}});
}

Result<void> check_space(const fs::path& store, const std::string& shown, std::uint64_t needed) {
  PINHOLE_TRY(const std::uint64_t free, sys::free_space(store));
  if (free >= needed) return {};
  return fail(told(failures::kImportNoSpace, {{"file", shown},
                                              {"needed", format_size(needed)},
                                              {"folder", printable(store.string())},
                                              {"free", format_size(free)}}));
}

/// Whether an image of a format, as it stands in `source`, may be given to qemu-img.
Result<void> check_image_file(const ImportSource& source, const std::string& shown,
                              const artifact::DiskReport& report) {
  const artifact::FileSource bytes(source.fd());
  if (report.format == DiskFormat::none || report.format == DiskFormat::iso) {
    if (!report.problems.empty() && report.format == DiskFormat::iso)
      return fail(report.problems.front());
    return fail(no_disk(shown, report));
  }
  if (const auto reference = outside_reference(bytes, report.format)) {
    return fail(told(failures::kImportNeedsOtherFiles,
                     {{"file", shown}, {"format", report.what}, {"reference", *reference}}));
  }
  const std::uint64_t size = std::max(claimed_size(bytes, report.format), report.virtual_size);
  if (size > kLargestDisk) {
    return fail(
        told(failures::kImportTooLarge,
             {{"file", shown}, {"size", format_size(size)}, {"limit", format_size(kLargestDisk)}}));
  }
  if (!report.problems.empty()) return fail(report.problems.front());
  return {};
}

/// What tools write may be far more than what they read: a small qcow2 can name one cluster for all of its disk. Other programs'
/// room is kept by looking while they write.
StepContext watched(const Staging& staging, const std::string& shown, StepContext context) {
  context.watch = [folder = staging.folder, shown]() -> Result<void> {
    const auto free = sys::free_space(folder);
    if (!free || *free >= kSpaceLeft) return {};
    return fail(no_space(shown, folder, *free));
  };
  return context;
}

/// Bytes that are missing at the end of what qemu-img made are an error, whatever it says.
Result<void> check_converted(const fs::path& made, std::uint64_t claimed) {
  constexpr std::uint64_t kSectorSize = 512;
  std::error_code error;
  const std::uint64_t size = fs::file_size(made, error);
  if (error) return fail("cannot read {}: {}", made.string(), error.message());
  if (size / kSectorSize >= claimed / kSectorSize) return {};
  return fail(Error{.message = "qemu-img made less of it than it claims",
                    .details = {fmt::format("its disk has {} bytes by its header, and {} bytes "
                                            "came out",
                                            claimed, size)}});
}

/// What is said of the disk that was made, where that is not the file as it was given: commands that mend the one would ruin the
/// other.
Error said_of_copy(Error error) {
  const failures::Failure* row = failures::find(error.code);
  if (row == nullptr || row->fix.contains("{file}")) error.fix = failures::kImportMendElsewhere;
  return error;
}

/// What the import learns on its way.
struct Draft {
  std::string source_hash;
  std::string format;
  artifact::DiskReport disk;
};

Result<void> convert(const ImportSource& source, const std::string& shown,
                     const artifact::DiskReport& report, const Staging& staging,
                     Reporter& reporter) {
  reporter.enter(ImportStage::converting);
  // At least what is in it; what becomes more is seen while it is written.
  PINHOLE_TRY_VOID(check_space(staging.folder, shown, source.allocated() + kSpaceLeft));
  const fs::path made = staging.out() / "disk.raw";
  auto done =
      convert_to_raw(source, report.format, made, watched(staging, shown, reporter.context()),
                     [&](double part) { reporter.within(part); });
  if (done) done = check_converted(made, report.virtual_size);
  if (done || !done.error().code.empty()) return done;
  if (const auto free = sys::free_space(staging.folder); free && *free < kSpaceLeft)
    return check_space(staging.folder, shown, kSpaceLeft);
  Error error =
      told(failures::kImportConversion,
           {{"file", shown}, {"format", std::string(artifact::to_string(report.format))}});
  error.details = done.error().details;
  return fail(std::move(error));
}

Result<std::uint64_t> final_size(const ImportOptions& options, const ImportSource& source,
                                 std::uint64_t size) {
  const std::uint64_t wanted = options.size.value_or(std::max(size, kUsualDisk));
  if (wanted < size) {
    return fail(told(
        failures::kImportSmaller,
        {{"file", source.shown()}, {"wanted", format_size(wanted)}, {"size", format_size(size)}}));
  }
  if (wanted > kLargestDisk) {
    return fail(told(failures::kImportTooLarge, {{"file", source.shown()},
                                                 {"size", format_size(wanted)},
                                                 {"limit", format_size(kLargestDisk)}}));
  }
  return wanted == size ? size : (wanted + kAlignment - 1) / kAlignment * kAlignment;
}

/// What needs no byte of the file to be seen.
Result<void> check_sizes(const ImportOptions& options, const ImportSource& source) {
  const std::uint64_t size = std::max(options.size.value_or(0), source.size());
  if (size <= kLargestDisk) return {};
  return fail(told(failures::kImportTooLarge, {{"file", source.shown()},
                                               {"size", format_size(size)},
                                               {"limit", format_size(kLargestDisk)}}));
}

/// out()/disk.raw, from a file that may be compressed once.
Result<void> make_raw(const ImportOptions& options, const ImportSource& source,
                      const Staging& staging, Draft& draft, Reporter& reporter) {
  artifact::DiskReport report =
      artifact::judge_disk(artifact::FileSource(source.fd()), source.shown());
  if (!report.compression) {
    PINHOLE_TRY_VOID(check_image_file(source, source.shown(), report));
    PINHOLE_TRY_VOID(final_size(options, source, report.virtual_size));
    draft.format = artifact::to_string(report.format);
    PINHOLE_TRY_VOID(convert(source, source.shown(), report, staging, reporter));
    return source.check_unchanged();
  }
  const std::string packed(artifact::to_string(*report.compression));
  reporter.enter(ImportStage::decompressing);
  const fs::path inner_path = staging.temporary() / "inner";
  PINHOLE_TRY_VOID(decompress(source, *report.compression, inner_path, reporter.pass()));
  PINHOLE_TRY_VOID(source.check_unchanged());
  PINHOLE_TRY(const ImportSource inner, ImportSource::open(inner_path));
  report = artifact::judge_disk(artifact::FileSource(inner.fd()), source.shown());
  if (report.compression) return fail(no_disk(source.shown(), report));
  if (auto checked = check_image_file(inner, source.shown(), report); !checked)
    return fail(said_of_copy(std::move(checked).error()));
  PINHOLE_TRY_VOID(final_size(options, source, report.virtual_size));
  draft.format = fmt::format("{}+{}", artifact::to_string(report.format), packed);
  std::error_code error;
  if (report.format == DiskFormat::raw) {
    fs::rename(inner_path, staging.out() / "disk.raw", error);
    if (error) return fail("cannot move the disk: {}", error.message());
    return {};
  }
  PINHOLE_TRY_VOID(convert(inner, source.shown(), report, staging, reporter));
  fs::remove(inner_path, error);
  return {};
}

Result<void> check_raw(const ImportSource& source, const Staging& staging, Draft& draft,
                       Reporter& reporter) {
  reporter.enter(ImportStage::checking);
  PINHOLE_TRY(const ImportSource disk, ImportSource::open(staging.out() / "disk.raw"));
  draft.disk = artifact::judge_raw_disk(artifact::FileSource(disk.fd()), source.shown());
  if (!draft.disk.problems.empty()) {
    Error problem = draft.disk.problems.front();
    return fail(draft.format == "raw" ? std::move(problem) : said_of_copy(std::move(problem)));
  }
  // What grows it knows no other tables.
  if (draft.disk.boots_by_efi() && !draft.disk.has_gpt) {
    return fail(
        told(failures::kDiskHasNoGpt, {{"file", source.shown()}, {"what", "a disk with an MBR"}}));
  }
  if (draft.disk.boots_by_efi()) return {};
  return fail(told(failures::kImportNoBoot, {{"file", source.shown()}}));
}

Result<Manifest> import_into(const Staging& staging, const ImportOptions& options,
                             const ImportSource& source, Reporter& reporter) {
  Draft draft;
  PINHOLE_TRY_VOID(check_sizes(options, source));
  PINHOLE_TRY(draft.source_hash, check_hash(options, source, reporter));
  PINHOLE_TRY_VOID(make_raw(options, source, staging, draft, reporter));
  PINHOLE_TRY_VOID(check_raw(source, staging, draft, reporter));
  PINHOLE_TRY(const std::uint64_t size, final_size(options, source, draft.disk.size));
  PINHOLE_TRY(const std::string agent, sys::read_file(options.agent, kMaxAgent));
  PINHOLE_TRY(RootResult root,
              prepare_root(staging,
                           {.file = source.shown(),
                            .report = draft.disk,
                            .size = size,
                            .agent = agent,
                            .growing = [&] { reporter.enter(ImportStage::growing); },
                            .preparing = [&] { reporter.enter(ImportStage::preparing); }},
                           reporter.context()));
  reporter.enter(ImportStage::hashing);
  Manifest manifest{.name = options.name,
                    .format = "raw",
                    .architecture = "x86_64",
                    .built = now_text(),
                    .builder = fmt::format("import-{}", kImporterVersion)};
  manifest.imported = std::move(root.imported);
  manifest.imported->file_name = printable(options.file.filename().string());
  manifest.imported->sha256 = draft.source_hash;
  manifest.imported->format = draft.format;
  manifest.imported->agent_sha256 = sha256_hex(agent);
  manifest.key = sha256_hex(fmt::format("import {}\nfile {}\nagent {}\n", kImporterVersion,
                                        draft.source_hash, manifest.imported->agent_sha256));
  // Minutes of a large disk, which the user may give up.
  const auto hash = [&](const fs::path& path) -> Result<std::string> {
    PINHOLE_TRY(const ImportSource disk, ImportSource::open(path));
    return disk.sha256(reporter.pass());
  };
  PINHOLE_TRY(manifest.disk, record_file(staging.out() / "disk.raw", hash));
  if (root.has_kernel) {
    PINHOLE_TRY(manifest.kernel, record_file(staging.out() / "vmlinuz"));
  }
  if (root.has_tools) {
    PINHOLE_TRY(manifest.tools, record_file(staging.out() / "tools.iso"));
  }
  PINHOLE_TRY_VOID(
      sys::write_file_atomic(staging.out() / "manifest.yaml", print_manifest(manifest)));
  return manifest;
}

Result<void> make_folders(const Staging& staging) {
  for (const fs::path& folder : {staging.folder, staging.out(), staging.temporary()}) {
    if (::mkdir(folder.c_str(), 0700) != 0)
      return fail("cannot create {}: {}", folder.string(), errno_text(errno));
  }
  return {};
}

Result<void> check_free(const ImportOptions& options, const std::string& shown) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(options.store / options.name, error))) return {};
  return fail(told(failures::kImportNameTaken, {{"file", shown}, {"name", options.name}}));
}

}  // namespace

std::string_view stage_text(ImportStage stage) {
  switch (stage) {
    case ImportStage::cleaning:
      return "cleaning up";
    case ImportStage::checksum:
      return "checksum";
    case ImportStage::decompressing:
      return "decompressing";
    case ImportStage::converting:
      return "converting";
    case ImportStage::checking:
      return "checking the disk";
    case ImportStage::growing:
      return "growing the disk";
    case ImportStage::preparing:
      return "preparing the system";
    case ImportStage::hashing:
      return "hashing";
  }
  return "";
}

std::optional<std::string> name_after(const fs::path& file) {
  constexpr auto kEndings = std::to_array<std::string_view>(
      {".gz", ".xz", ".zst", ".bz2", ".qcow2", ".img", ".raw", ".vhd", ".vmdk", ".vhdx", ".disk"});
  std::string name = to_lower(file.filename().string());
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view ending : kEndings) {
      if (!name.ends_with(ending)) continue;
      name.resize(name.size() - ending.size());
      again = true;
    }
  }
  for (char& c : name) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
    if (!good) c = '-';
  }
  name.resize(std::min(name.size(), kMaxName));
  if (!check_name(name)) return std::nullopt;
  return name;
}

Result<Image> import_image(const ImportOptions& options) {
  PINHOLE_TRY_VOID(check_name(options.name));
  PINHOLE_TRY(const ImportSource source, ImportSource::open(options.file));
  if (!debugfs_takes(options.store)) {
    return fail(told(failures::kImportStoreName,
                     {{"file", source.shown()}, {"folder", printable(options.store.string())}}));
  }
  PINHOLE_TRY_VOID(sys::make_private_dir(options.store));
  PINHOLE_TRY_VOID(check_free(options, source.shown()));
  PINHOLE_TRY(const auto lock, lock_image(options.store, options.name));
  if (!lock) {
    return fail(Error{.message = fmt::format("cannot import {}: another pinhole makes an image "
                                             "\"{}\" now",
                                             source.shown(), options.name),
                      .fix = "wait for that, or choose another: --name NAME",
                      .code = "image_busy"});
  }
  PINHOLE_TRY_VOID(check_free(options, source.shown()));
  Reporter reporter(options);
  reporter.enter(ImportStage::cleaning);
  PINHOLE_TRY_VOID(remove_leftovers(options.store, options.name));
  const StagingGuard staging(options.store / staging_name(options.name));
  PINHOLE_TRY_VOID(make_folders(staging.get()));
  PINHOLE_TRY(Manifest manifest, import_into(staging.get(), options, source, reporter));
  const fs::path target = options.store / options.name;
  std::error_code error;
  fs::rename(staging.get().out(), target, error);
  if (error) return fail("cannot create {}: {}", target.string(), error.message());
  return Image{.manifest = std::move(manifest), .folder = target};
}

}  // namespace pinhole::image
