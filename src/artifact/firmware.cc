// SPDX-License-Identifier: Apache-2.0
#include "artifact/firmware.h"

#include <algorithm>

#include "artifact/files.h"
#include "artifact/identify.h"
#include "failures/artifacts.h"

namespace pinhole::artifact {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kVolumeHeader = 0x48;
constexpr std::uint64_t kLargestFlash = std::uint64_t{64} << 20;
// EFI_SYSTEM_NV_DATA_FV_GUID, gEfiAuthenticatedVariableGuid, gEfiVariableGuid.
constexpr std::string_view kVariableVolume =
    "\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50"sv;
constexpr std::string_view kAuthenticated =
    "\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92"sv;
constexpr std::string_view kPlain =
    "\x16\x36\xcf\xdd\x75\x32\x64\x41\x98\xb6\xfe\x85\x70\x7f\xfe\x7d"sv;

struct Volume {
  std::uint64_t size = 0;
  std::string type = {};
  std::uint16_t header = 0;
};

/// The header of the volume at `at`; a fault as text.
std::optional<std::string> read_volume(const Source& source, std::uint64_t at, Volume& volume) {
  constexpr std::size_t kType = 16, kSize = 32, kSignature = 40, kHeaderSize = 48, kRevision = 55;
  constexpr std::uint16_t kLargestHeader = 4096;
  const auto says = [&](std::string_view what) { return fmt::format("at byte {} {}", at, what); };
  const Block head(source, at, kVolumeHeader);
  if (!head.ok() || head.text(kSignature, 4) != "_FVH") return says("it holds no firmware volume");
  volume = {.size = head.le64(kSize),
            .type = std::string(head.text(kType, 16)),
            .header = head.le16(kHeaderSize)};
  if (volume.header < kVolumeHeader || volume.header > kLargestHeader || volume.header % 2 != 0 ||
      head.u8(kRevision) != 2)
    return says("the header of a firmware volume makes no sense");
  const Block header(source, at, volume.header);
  if (!header.ok()) return says("the header of a firmware volume is cut");
  std::uint16_t sum = 0;
  for (std::size_t i = 0; i < header.size(); i += 2)
    sum = static_cast<std::uint16_t>(sum + header.le16(i));
  if (sum != 0) return says("the checksum of a firmware volume's header does not hold");
  if (volume.size < volume.header) return says("a firmware volume has no size that can be");
  if (volume.size > source.size() - at) {
    return fmt::format("it is truncated: it has {} bytes, and a firmware volume reaches to {}",
                       source.size(), at + std::min(volume.size, ~at));
  }
  return std::nullopt;
}

struct Store {
  Volume volume;
  std::string kind = {};
  std::uint32_t size = 0;
};

std::optional<std::string> read_store(const Source& source, Store& store) {
  constexpr std::size_t kHeader = 28, kSize = 16, kFormat = 20, kState = 21;
  constexpr std::uint8_t kFormatted = 0x5a, kHealthy = 0xfe;
  if (source.size() == 0) return "it is empty";
  if (source.size() > kLargestFlash) return fmt::format("it has {} bytes", source.size());
  if (is_blank(source, 0, source.size())) return "it holds nothing but zeros";
  const std::string head = source.text(0, 1024);
  if (head.substr(std::min<std::size_t>(40, head.size()), 4) != "_FVH")
    return fmt::format("it holds no firmware volume, but is {}", identify(head));
  if (auto fault = read_volume(source, 0, store.volume)) return fault;
  if (store.volume.type != kVariableVolume)
    return "its firmware volume is not for variables (is it the firmware itself?)";
  const Block header(source, store.volume.header, kHeader);
  if (!header.ok()) return "it ends before its variables";
  store.kind = std::string(header.text(0, 16));
  if (store.kind != kAuthenticated && store.kind != kPlain) return "it has no header for variables";
  if (header.u8(kFormat) != kFormatted || header.u8(kState) != kHealthy)
    return "its variables are marked as not usable";
  store.size = header.le32(kSize);
  if (store.size < kHeader || store.size > store.volume.size - store.volume.header)
    return "its variables have no size that can be";
  return std::nullopt;
}

Error broken(const std::filesystem::path& file, const std::string& what) {
  return failures::told(failures::kFirmwareFileBroken, {{"file", file.string()}, {"what", what}});
}

}  // namespace

std::optional<std::string> firmware_fault(const Source& source) {
  constexpr std::uint64_t kPage = 4096;
  constexpr std::size_t kMostVolumes = 64, kResetVector = 16;
  if (source.size() == 0) return "it is empty";
  if (source.size() > kLargestFlash) return fmt::format("it has {} bytes", source.size());
  const std::string head = source.text(0, 1024);
  Volume volume;
  std::uint64_t at = 0;
  std::size_t count = 0;
  for (; at < source.size() && count < kMostVolumes; ++count) {
    if (auto fault = read_volume(source, at, volume)) {
      return count == 0 ? fmt::format("{}, but is {}", *fault, identify(head)) : *fault;
    }
    at += volume.size;
  }
  if (at != source.size() || source.size() % kPage != 0)
    return fmt::format("it has {} bytes, and its firmware volumes {}", source.size(), at);
  const std::string last = source.text(source.size() - kResetVector, kResetVector);
  const bool no_code = last.find_first_not_of('\0') == std::string::npos ||
                       last.find_first_not_of('\xff') == std::string::npos;
  if (no_code) return "there is no code at its end, where a processor starts";
  return std::nullopt;
}

std::optional<std::string> variable_template_fault(const Source& source) {
  Store store;
  return read_store(source, store);
}

std::optional<std::string> variable_store_fault(const Source& source, const Source& original) {
  Store store, wanted;
  (void)read_store(original, wanted);
  if (source.size() != 0 && source.size() != original.size()) {
    return fmt::format(
        "it has {} bytes, and this firmware's store {}: it was cut short, or belongs "
        "to another firmware",
        source.size(), original.size());
  }
  if (auto fault = read_store(source, store)) return fault;
  if (store.volume.size != wanted.volume.size || store.kind != wanted.kind ||
      store.size != wanted.size)
    return "it is laid out otherwise than this firmware's store: it belongs to another firmware";
  return std::nullopt;
}

Result<void> check_firmware(const std::filesystem::path& code,
                            const std::filesystem::path& vars_template) {
  PINHOLE_TRY(const Fd code_file, open_to_judge(code));
  if (const auto fault = firmware_fault(FileSource(code_file.get())))
    return fail(broken(code, *fault));
  PINHOLE_TRY(const Fd vars_file, open_to_judge(vars_template));
  if (const auto fault = variable_template_fault(FileSource(vars_file.get())))
    return fail(broken(vars_template, *fault));
  return {};
}

Result<void> check_variable_store(const std::filesystem::path& store,
                                  const std::filesystem::path& vars_template,
                                  const std::string& vm) {
  PINHOLE_TRY(const Fd file, open_to_judge(store));
  PINHOLE_TRY(const Fd original, open_to_judge(vars_template));
  const auto fault = variable_store_fault(FileSource(file.get()), FileSource(original.get()));
  if (!fault) return {};
  return fail(failures::told(failures::kEfiVarsBroken,
                             {{"file", store.string()}, {"what", *fault}, {"vm", vm}}));
}

}  // namespace pinhole::artifact
