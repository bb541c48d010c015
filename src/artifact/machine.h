// SPDX-License-Identifier: Apache-2.0
// The machines that something may be made for.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pinhole::artifact {

enum class Machine : std::uint8_t { x86_64, aarch64 };

/// What virtual machines here are.
inline constexpr Machine kOurs = Machine::x86_64;

constexpr std::string_view to_string(Machine machine) {
  return machine == Machine::x86_64 ? "x86_64" : "aarch64";
}

/// The name that firmware looks for where nobody told it another (UEFI 2.10, 3.5.1.1).
constexpr std::string_view boot_file_name(Machine machine) {
  return machine == Machine::x86_64 ? "BOOTX64.EFI" : "BOOTAA64.EFI";
}

/// By the Machine field of a PE file (Microsoft, "PE Format") or e_machine of an ELF file; of others a text: "i386".
std::optional<Machine> pe_machine(std::uint16_t value);
std::string_view pe_machine_name(std::uint16_t value);
std::optional<Machine> elf_machine(std::uint16_t value);
std::string_view elf_machine_name(std::uint16_t value);

}  // namespace pinhole::artifact
