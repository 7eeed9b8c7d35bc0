# One library target a folder, with a namespaced alias and its usage requirements; no global flags.

# GCC 12 sees overruns in inlined moves of std::string that aren't there; AddressSanitizer finds real ones.
set(ESPALIER_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
    -Wno-stringop-overread)
# No fused multiply-add and no reassociation: a simulation gives the same bytes at every optimisation level.
set(ESPALIER_NUMERICS -ffp-contract=off)

set(ESPALIER_COMMON_HEADERS <algorithm> <array> <cmath> <cstdint> <functional> <map> <memory> <optional> <span> <string> <string_view> <vector>
    <fmt/format.h>)

function(espalier_flags target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE ${ESPALIER_WARNINGS} ${ESPALIER_NUMERICS})
  if(ESPALIER_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(ESPALIER_SANITIZE)
    # Null pointers, types and sizes of objects are AddressSanitizer's to find; asking twice costs a quarter of the compile time.
    target_compile_options(${target} PUBLIC -fsanitize=address,undefined -fno-sanitize=null,vptr,object-size
                           -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=address,undefined)
  endif()
endfunction()

# espalier_library(folder SOURCES a.cpp … [PUBLIC lib …] [PRIVATE lib …])
function(espalier_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target espalier_${folder})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(espalier::${folder} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${folder} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/espalier>)
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  espalier_flags(${target})
  # The headers that nearly every source includes, compiled once: by the first library, for all. The debug preset goes
  # without: at -O0 fmt switches optimization on for itself, and GCC 12 keeps it on for all that follows a copy.
  get_property(libraries GLOBAL PROPERTY ESPALIER_LIBRARIES)
  if(libraries)
    list(GET libraries 0 first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${ESPALIER_COMMON_HEADERS})
  endif()
  set_property(GLOBAL APPEND PROPERTY ESPALIER_LIBRARIES ${target})
endfunction()

# Installs every library, its headers, the command and a package file for find_package(espalier).
function(espalier_install)
  get_property(libraries GLOBAL PROPERTY ESPALIER_LIBRARIES)
  install(TARGETS ${libraries} EXPORT espalier ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT espalier NAMESPACE espalier:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/espalier FILE espalierTargets.cmake)
  foreach(folder core traces costmodel scheduler sim kernels viz)
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/espalier
            FILES_MATCHING PATTERN "*.h")
  endforeach()
  include(CMakePackageConfigHelpers)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/espalierConfigVersion.cmake COMPATIBILITY SameMajorVersion)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/espalierConfig.cmake.in ${PROJECT_BINARY_DIR}/espalierConfig.cmake @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/espalierConfig.cmake ${PROJECT_BINARY_DIR}/espalierConfigVersion.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/espalier)
endfunction()
