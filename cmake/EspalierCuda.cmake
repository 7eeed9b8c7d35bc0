# The CUDA executor: ESPALIER_CUDA=AUTO builds it where nvcc is found, ON demands it, OFF leaves it out.
#
# Kernels are compiled by plain nvcc commands, not as a CMake language: that would ask for C++20 in a way that this CMake doesn't know, and make
# every configure run the compiler.
set(ESPALIER_CUDA AUTO CACHE STRING "Build the CUDA executor: AUTO, ON or OFF")
set(ESPALIER_CUDA_ARCHITECTURES "sm_80" CACHE STRING "What its kernels are compiled for, e.g. sm_80;sm_90a")

set(ESPALIER_CUDA_FOUND OFF)
if(NOT ESPALIER_CUDA STREQUAL "OFF")
  find_program(ESPALIER_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(ESPALIER_NVCC)
    get_filename_component(nvcc_folder ${ESPALIER_NVCC} DIRECTORY)
    find_path(ESPALIER_CUDA_INCLUDE cuda_runtime_api.h HINTS ${nvcc_folder}/../include ${nvcc_folder}/../targets/x86_64-linux/include)
    find_library(ESPALIER_CUDART cudart_static HINTS ${nvcc_folder}/../lib64 ${nvcc_folder}/../targets/x86_64-linux/lib)
  endif()
  if(ESPALIER_NVCC AND ESPALIER_CUDA_INCLUDE AND ESPALIER_CUDART)
    set(ESPALIER_CUDA_FOUND ON)
    message(STATUS "espalier: CUDA executor for ${ESPALIER_CUDA_ARCHITECTURES}, by ${ESPALIER_NVCC}")
  elseif(ESPALIER_CUDA STREQUAL "ON")
    message(FATAL_ERROR "espalier: ESPALIER_CUDA=ON, but nvcc, its headers or libcudart_static were not found")
  else()
    message(STATUS "espalier: nvcc not found, the CUDA executor is left out (run --backend cuda will say so)")
  endif()
endif()

# espalier_cuda_objects(out a.cu …): objects of the sources, compiled by nvcc for all architectures; the last of them as PTX, too, for devices
# newer than all. Without the suffix that it may have: PTX for sm_90a runs on no other device, that for sm_90 on all that came later, where
# kernels of what sm_90a alone has are empty.
function(espalier_cuda_objects out)
  set(codes)
  foreach(arch ${ESPALIER_CUDA_ARCHITECTURES})
    string(REPLACE "sm_" "compute_" virtual ${arch})
    list(APPEND codes -gencode arch=${virtual},code=${arch})
    string(REGEX REPLACE "[a-z]$" "" portable ${virtual})
  endforeach()
  list(APPEND codes -gencode arch=${portable},code=${portable})
  set(objects)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.cuda.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${ESPALIER_NVCC} -std=c++20 -O3 -I${PROJECT_SOURCE_DIR} ${codes} -Xcompiler -fPIC -MD -MF ${object}.d
              -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source} DEPFILE ${object}.d
      COMMENT "nvcc ${source}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()
