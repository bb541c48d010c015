// SPDX-License-Identifier: Apache-2.0
#include "artifact/machine.h"

namespace pinhole::artifact {

std::optional<Machine> pe_machine(std::uint16_t value) {
  if (value == 0x8664) return Machine::x86_64;
  if (value == 0xaa64) return Machine::aarch64;
  return std::nullopt;
}

std::string_view pe_machine_name(std::uint16_t value) {
  switch (value) {
    case 0x8664:
      return "x86_64";
    case 0xaa64:
      return "aarch64";
    case 0x014c:
      return "i386";
    case 0x01c0:
    case 0x01c2:
    case 0x01c4:
      return "arm";
    case 0x0ebc:
      return "EFI byte code";
    case 0x5032:
    case 0x5064:
      return "riscv";
    case 0x6232:
    case 0x6264:
      return "loongarch";
    default:
      return "an unknown machine";
  }
}

std::optional<Machine> elf_machine(std::uint16_t value) {
  if (value == 62) return Machine::x86_64;
  if (value == 183) return Machine::aarch64;
  return std::nullopt;
}

std::string_view elf_machine_name(std::uint16_t value) {
  switch (value) {
    case 3:
      return "i386";
    case 8:
      return "mips";
    case 20:
    case 21:
      return "powerpc";
    case 22:
      return "s390";
    case 40:
      return "arm";
    case 62:
      return "x86_64";
    case 183:
      return "aarch64";
    case 243:
      return "riscv";
    case 258:
      return "loongarch";
    default:
      return "an unknown machine";
  }
}

}  // namespace pinhole::artifact
