"""The HTTP service and its web page, behind ``ferkit serve``. Needs the extra ``serve``.

The modules, from the bottom: ``settings``, ``origins`` and ``problems`` are plain values; ``schemas`` is what goes over the wire;
``uploads`` turns request bytes into images, within the limits of ``admission`` and ``pieces``; ``engine`` owns the threads that
compute; ``catalogue`` the weights on offer; ``jobs`` has films read by ``film``, in processes of their own; ``stream`` is the webcam;
``metrics``, ``middleware`` and ``connections`` watch; ``app`` puts them together; ``run`` starts uvicorn.
"""
