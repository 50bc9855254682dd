# What a CUDA build adds to the target caffe. NVIDIA's wheels name their libraries by version only (libcublas.so.13), so
# each is linked by its path; a toolkit on the machine is found the same way.
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_RUNTIME_LIBRARY None) # below, by its path
enable_language(CUDA)

set(include_dirs ${CAFFE_CUDA_ROOTS})
list(TRANSFORM include_dirs APPEND /include)
foreach(header cuda_runtime.h cublas_v2.h curand.h cudnn.h nccl.h)
  find_path(${header}_dir ${header} PATHS ${include_dirs} /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} REQUIRED)
  target_include_directories(caffe SYSTEM PUBLIC ${${header}_dir})
endforeach()

set(cuda_libraries)
foreach(name cudart cublas curand cudnn nccl)
  set(found)
  foreach(root ${CAFFE_CUDA_ROOTS})
    file(GLOB candidates ${root}/lib/lib${name}.so.* ${root}/lib64/lib${name}.so.*
         ${root}/lib/${CMAKE_LIBRARY_ARCHITECTURE}/lib${name}.so.*)
    list(APPEND found ${candidates})
  endforeach()
  if(NOT found)
    message(FATAL_ERROR "lib${name}.so is in none of ${CAFFE_CUDA_ROOTS}")
  endif()
  list(GET found 0 first)
  list(APPEND cuda_libraries ${first})
endforeach()

file(GLOB cuda_sources CONFIGURE_DEPENDS ${CAFFE_SOURCE}/src/caffe/layers/*.cu ${CAFFE_SOURCE}/src/caffe/solvers/*.cu
     ${CAFFE_SOURCE}/src/caffe/util/*.cu)
list(FILTER cuda_sources EXCLUDE REGEX "/cudnn_(de)?conv_layer")
set(our_sources src/cudnn_shared.cpp src/cudnn_convolutions.cpp src/cudnn_convolution_layers.cpp)
set_source_files_properties(${our_sources} PROPERTIES COMPILE_OPTIONS "${warnings}")
target_sources(caffe PRIVATE ${cuda_sources} ${our_sources} src/cudnn_shared.cu)
string(REPLACE ";" "," arch "${CMAKE_CUDA_ARCHITECTURES}")
set_source_files_properties(src/gpu_support.cpp PROPERTIES COMPILE_DEFINITIONS "CAFFE_CUDA_ARCH=\"${arch}\"")
target_compile_definitions(caffe PUBLIC USE_CUDNN USE_NCCL)
target_link_libraries(caffe PUBLIC ${cuda_libraries})

# test_im2col_kernel.cu runs a kernel that im2col.cu defines in another library: nvcc 13 hides kernels by default
foreach(source ${CAFFE_SOURCE}/src/caffe/util/im2col.cu ${CAFFE_SOURCE}/src/caffe/test/test_im2col_kernel.cu)
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
    "--static-global-template-stub=false;--device-entity-has-hidden-visibility=false")
endforeach()
