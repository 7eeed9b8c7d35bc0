// A reader may return a value or throw core::Error; anything else (a crash, another exception, a hang) is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"

#define ESPALIER_FUZZ(text)                                                           \
  static void read_text(std::string_view text);                                       \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    try {                                                                             \
      read_text({reinterpret_cast<const char*>(data), size});                         \
    } catch (const espalier::core::Error&) {                                          \
    }                                                                                 \
    return 0;                                                                         \
  }                                                                                   \
  static void read_text(std::string_view text)
