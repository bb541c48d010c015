// SPDX-License-Identifier: Apache-2.0
// Programs: QEMU and what belongs to it, what builds images, and our own inner ones.
#include <algorithm>
#include <optional>

#include "base/printable.h"
#include "base/strings.h"
#include "doctor/kernel.h"
#include "doctor/tools.h"
#include "failures/host.h"
#include "image/build.h"
#include "preflight/tools.h"
#include "qemu/firmware.h"
#include "sys/files.h"
#include "sys/host_confinement.h"

namespace pinhole::doctor {
namespace {

using failures::told;

Diagnosis missing(const Facts& facts, std::string_view program, std::string_view purpose,
                  std::string_view package) {
  return problem(told(failures::kProgramMissing, {{"program", std::string(program)},
                                                  {"purpose", std::string(purpose)},
                                                  {"command", install_command(facts, package)}}));
}

Diagnosis broken(const Facts& facts, const fs::path& program, std::string_view why,
                 std::string_view package) {
  std::string command = install_command(facts, package);
  if (const std::size_t at = command.find("apt-get install"); at != std::string::npos)
    command.insert(at + std::string_view("apt-get install").size(), " --reinstall");
  return problem(
      told(failures::kProgramBroken,
           {{"program", program.string()}, {"why", std::string(why)}, {"command", command}}));
}

const ToolOptions& qemu_data() {
  static const ToolOptions kData{
      .also_visible = {{.path = "/usr/share/qemu", .optional = true},
                       {.path = "/usr/share/seabios", .optional = true}}};
  return kData;
}

Findings qemu(const Facts& facts) {
  const auto program = preflight::find_qemu();
  if (!program)
    return {missing(facts, "qemu-system-x86_64", "it runs the machine", "qemu-system-x86")};
  const auto output = run_tool(*program, {"--version"}, qemu_data());
  if (!output) return {broken(facts, *program, output.error().message, "qemu-system-x86")};
  const auto number = parse_version(output->out, "version ");
  const std::string line = printable(split(trim(output->out), '\n').front(), 200);
  if (!number)
    return {broken(facts, *program, "its version is \"" + line + "\"", "qemu-system-x86")};
  if (*number < kOldestQemu) {
    return {problem(told(failures::kQemuTooOld, {{"program", program->string()},
                                                 {"version", to_text(*number)},
                                                 {"oldest", to_text(kOldestQemu)}}))};
  }
  if (const BadQemu* bad = known_bad_qemu(*number)) {
    return {weaker(told(failures::kQemuKnownBad, {{"version", to_text(*number)},
                                                  {"what", std::string(bad->what)},
                                                  {"source", std::string(bad->source)},
                                                  {"end", to_text(bad->end)}}))};
  }
  return {fine(fmt::format("{} in {}", to_text(*number), program->string()))};
}

/// What qemu/args.cc asks for, and where QEMU lists it.
struct Part {
  std::string_view option, name;
};
constexpr Part kParts[] = {
    {"-device", "vhost-user-vsock-pci"},
    {"-device", "vhost-user-fs-pci"},
    {"-device", "virtio-blk-pci"},
    {"-device", "virtio-serial-pci"},
    {"-device", "pcie-root-port"},
    {"-object", "memory-backend-memfd"},
    {"-machine", "q35"},
    {"-accel", "tcg"},
};

bool lists(std::string_view listing, std::string_view name) {
  return std::ranges::any_of(split(listing, '\n'), [&](std::string_view line) {
    line = trim(line);
    return line.contains(fmt::format("\"{}\"", name)) || line == name ||
           line.starts_with(fmt::format("{} ", name));
  });
}

Findings qemu_parts(const Facts& facts) {
  const auto program = preflight::find_qemu();
  if (!program) return {};
  std::string_view option;
  std::string listing, lacking;
  for (const Part& part : kParts) {
    if (part.option != option) {
      const auto output = run_tool(*program, {std::string(part.option), "help"}, qemu_data());
      if (!output) return {broken(facts, *program, output.error().message, "qemu-system-x86")};
      listing = output->out + output->err;
      option = part.option;
    }
    if (!lists(listing, part.name))
      lacking += fmt::format("{}{} {}", lacking.empty() ? "" : ", ", part.option, part.name);
  }
  if (lacking.empty()) return {fine(fmt::format("all {} that a VM needs", std::size(kParts)))};
  return {problem(
      told(failures::kQemuLacks, {{"program", program->string()},
                                  {"what", lacking},
                                  {"command", install_command(facts, "qemu-system-x86")}}))};
}

Findings qemu_img(const Facts& facts) {
  const auto program = preflight::find_qemu_img();
  if (!program) return {missing(facts, "qemu-img", "it makes the VM's disk", "qemu-utils")};
  const auto output = run_tool(*program, {"--version"});
  if (!output) return {broken(facts, *program, output.error().message, "qemu-utils")};
  const auto number = parse_version(output->out, "version ");
  return {fine(fmt::format("{} in {}", number ? to_text(*number) : "?", program->string()))};
}

Findings virtiofsd(const Facts& facts) {
  const auto program = preflight::find_virtiofsd();
  if (!program) {
    return {missing(facts, "virtiofsd", "it shares the workspace with the guest",
                    "qemu-system-common")};
  }
  // It gives up its groups before it says anything, which takes ids of its own.
  const auto host = sys::probe_host_confinement();
  const bool mapped = host && host->namespaces && facts.user.uid != 0 &&
                      sys::subordinate_ids("/etc/subuid", facts.user) &&
                      sys::subordinate_ids("/etc/subgid", facts.user) && !map_ids(facts.user);
  if (!mapped) return {fine(program->string() + "; not tried without namespaces and ids")};
  const auto output = run_tool(*program, {"--version"},
                               {.filter = sys::SpawnFilter::file_server, .mapped = &facts.user});
  if (!output) return {broken(facts, *program, output.error().message, "qemu-system-common")};
  // QEMU's own, in C: "virtiofsd version 7.2.22 (…)"; the one in Rust: "virtiofsd 1.10.1".
  const auto of_qemu = parse_version(output->out, "virtiofsd version ");
  const auto of_rust = parse_version(output->out, "virtiofsd ");
  const std::string flavour = of_qemu   ? fmt::format("{}, QEMU's own", to_text(*of_qemu))
                              : of_rust ? fmt::format("{}, the one in Rust", to_text(*of_rust))
                                        : "of unknown version";
  const auto tried = try_virtiofsd(*program, facts);
  if (tried) return {fine(fmt::format("{} in {}, serves a folder", flavour, program->string()))};
  return {problem(told(
      failures::kVirtiofsdFails,
      {{"program", program->string()}, {"flavour", flavour}, {"why", tried.error().message}}))};
}

/// The header of one (UEFI Platform Initialization, volume 3, 3.2.1) has its signature at byte 40.
bool is_firmware_volume(std::string_view content) {
  constexpr std::size_t kSignatureAt = 40;
  return content.size() > kSignatureAt && content.substr(kSignatureAt).starts_with("_FVH");
}

Findings firmware(const Facts& facts) {
  const auto found = qemu::find_firmware(qemu::descriptor_folders());
  if (!found) {
    Error error = told(failures::kFirmwareMissing, {{"command", install_command(facts, "ovmf")}});
    error.details = found.error().details;
    return {problem(std::move(error))};
  }
  const auto broken_file = [&](const fs::path& file, std::string_view why) {
    return Findings{problem(told(failures::kHostFirmwareBroken,
                                 {{"file", file.string()},
                                  {"why", std::string(why)},
                                  {"command", "sudo apt-get install --reinstall ovmf"}}))};
  };
  constexpr std::uint64_t kLargest = 64 << 20, kPage = 4096;
  const auto code = sys::read_file(found->code, kLargest);
  if (!code) return broken_file(found->code, code.error().message);
  if (code->empty() || code->size() % kPage != 0)
    return broken_file(found->code, fmt::format("it has {} bytes", code->size()));
  const auto vars = sys::read_file(found->vars_template, kLargest);
  if (!vars) return broken_file(found->vars_template, vars.error().message);
  if (!is_firmware_volume(*vars))
    return broken_file(found->vars_template,
                       vars->empty() ? "it is empty" : "it is no firmware volume");
  return {fine(fmt::format("{} ({}), variables of {}", found->code.string(),
                           format_size(code->size()), format_size(vars->size())))};
}

Findings build_tools(const Facts& facts) {
  const auto tools = image::check_build_tools();
  if (tools || tools.error().details.empty()) return {fine("complete")};
  std::string packages;  // "sudo apt-get install a b"
  constexpr std::string_view kCommand = "sudo apt-get install ";
  if (tools.error().fix.starts_with(kCommand)) packages = tools.error().fix.substr(kCommand.size());
  Error error = told(failures::kBuildToolsMissing, {{"command", install_command(facts, packages)}});
  error.details = tools.error().details;
  const auto images = image::list_images(facts.paths.images);
  const bool can_run = images && std::ranges::any_of(*images, [](const image::Listed& listed) {
                         return listed.image.has_value();
                       });
  return {can_run ? weaker(std::move(error)) : problem(std::move(error))};
}

Findings certificates(const Facts& facts) {
  for (const char* file : {"etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt",
                           "etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem"}) {
    std::error_code error;
    const auto size = fs::file_size(facts.root / file, error);
    if (!error && size > 0) return {fine((fs::path("/") / file).string())};
  }
  return {weaker(
      told(failures::kNoCertificates, {{"command", install_command(facts, "ca-certificates")}}))};
}

Findings own_programs(const Facts&) {
  Findings found;
  for (const std::string name :
       {"pinhole-pep", "pinhole-vsockd", "pinhole-fsguard", "pinhole-agent"}) {
    const auto program = config::inner_program(name);
    if (!program) {
      found.push_back(problem(told(failures::kOwnProgramMissing, {{"program", name}})));
      continue;
    }
    // As they are started: without a filter that is not their own.
    const auto output = run_tool(*program, {"--version"}, {.filter = sys::SpawnFilter::none});
    const std::string wanted = name + " " PINHOLE_VERSION;
    const std::string said = output ? std::string(trim(output->out)) : output.error().message;
    if (!output || said != wanted) {
      found.push_back(problem(told(
          failures::kOwnProgramOther,
          {{"program", program->string()}, {"said", printable(said, 200)}, {"wanted", wanted}})));
    }
  }
  if (!found.empty()) return found;
  if (const auto recipe = config::shared_data("images/base.yaml"); !recipe)
    return {problem(told(failures::kOwnDataMissing, {{"what", "images/base.yaml"}}))};
  return {fine("all of version " PINHOLE_VERSION)};
}

constexpr auto kWithTools = std::chrono::seconds(60);  // each trial has its own, far shorter limit
constexpr Row kRows[] = {
    {.name = "QEMU", .run = qemu, .deadline = kWithTools},
    {.name = "QEMU's devices", .run = qemu_parts, .deadline = kWithTools},
    {.name = "qemu-img", .run = qemu_img, .deadline = kWithTools},
    {.name = "virtiofsd", .run = virtiofsd, .deadline = kWithTools},
    {.name = "EFI firmware", .run = firmware},
    {.name = "build tools", .run = build_tools},
    {.name = "certificates", .run = certificates},
    {.name = "own programs", .run = own_programs, .deadline = kWithTools},
};

}  // namespace

std::span<const Row> tool_rows() { return kRows; }

}  // namespace pinhole::doctor
