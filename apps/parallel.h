// A loop over independent cases on several threads, with a progress bar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace espalier::apps {

/// Runs body(0) … body(count - 1) on `jobs` threads (0: one a core). The first exception by index is thrown on after
/// all have stopped; cases that hadn't begun by then are left out.
void for_each_case(const std::string& label, std::size_t count, std::int32_t jobs,
                   const std::function<void(std::size_t)>& body);

}  // namespace espalier::apps
